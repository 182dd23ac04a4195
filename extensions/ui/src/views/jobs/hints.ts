/** What to change, told by what a line of a log complains of. The first that fits is said. */

import type { Translation } from "../../i18n";

type Hint = [pattern: RegExp, words: (trans: Translation) => string];

const HINTS: readonly Hint[] = [
  [
    /out ?of ?memory|OOMKilled|MemoryError|java heap space|GC overhead|exit(ed with)?( code)? 137|Cannot allocate memory|ContainerKilled.*memory|memory limits?\b.*exceed/i,
    (trans) => trans.__("It needs more memory. Clone it with more executor memory (or driver memory), smaller tiles, or a smaller area."),
  ],
  [
    /token.{0,40}(expired|invalid|rejected)|(expired|invalid).{0,20}token|TokenInvalid|AuthenticationRequired|\b401\b.{0,30}(unauthori[sz]ed)?|Unauthori[sz]ed/i,
    (trans) => trans.__("A login has expired. Sign in again at the back end (New job → where it runs → Sign in), then retry."),
  ],
  [
    /AccessDenied|Forbidden|\b403\b|PermissionsInsufficient|permission denied/i,
    (trans) => trans.__("It may not read or write there. Check that the bucket or collection is one of your virtual organisation, then retry."),
  ],
  [
    /no data|NoDataAvailable|NoSuchKey|CollectionNotFound|FileNotFound|No such file|does not exist|\b404\b|EmptyCube|no (items|images|scenes|products)\b|fewer than \d+ (valid )?images/i,
    (trans) => trans.__("Data is missing. Check the collection, the bands, the area and the dates: search for them in the Catalogue, and stage what the cluster cannot reach."),
  ],
  [/No space left|disk quota|QuotaExceeded|StorageFull/i, (trans) => trans.__("The storage is full. Delete what is not needed any more in Storage, then retry.")],
  [/payment|credits?.{0,30}(exceed|exhaust|insufficient)|BudgetExceeded/i, (trans) => trans.__("The credits at the back end do not suffice. Take a smaller area or another back end.")],
  [/time ?limit|DUE TO TIME LIMIT|DeadlineExceeded|walltime/i, (trans) => trans.__("It was not done within its time limit. Clone it with a longer one.")],
  [/ModuleNotFoundError|ImportError|No module named|ClassNotFoundException/i, (trans) => trans.__("A package is missing. Clone it and name the package among its packages.")],
  [/timed? ?out|ConnectionError|connection (refused|reset)|Name or service not known|\b50[234]\b/i, (trans) => trans.__("Something did not answer in time. This often passes: retry as a new job.")],
  [/SyntaxError|TypeError|ValueError|KeyError|ProcessParameter|ProcessArgument/i, (trans) => trans.__("The program or an argument is not right. Clone it and correct what the line names.")],
];

/** What to change; empty: nothing is known. */
export function hintOf(message: string, trans: Translation): string {
  const text = message.slice(0, 10_000);
  return HINTS.find(([pattern]) => pattern.test(text))?.[1](trans) ?? "";
}
