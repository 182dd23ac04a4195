/** An address that gives one object to whoever has it, for a while. */

import { useState } from "preact/hooks";
import { Button, SelectField, TextField } from "../../design/controls";
import { Dialog } from "../../design/dialog";
import { ProblemNote } from "../../design/feedback";
import { moment } from "../../design/figures";
import { OutsideLink } from "../../design/link";
import { useTranslation } from "../../i18n";
import { useSending, useSession } from "../../state/hooks";
import { nameOf } from "./where";

const HOUR = 3600;

export function LinkDialog({ bucket, objectKey: key, onClose }: { bucket: string; objectKey: string; onClose: () => void }) {
  const trans = useTranslation();
  const session = useSession();
  const [seconds, setSeconds] = useState(String(24 * HOUR));
  const [link, setLink] = useState<{ url: string; expires: string } | null>(null);
  const { sending, problem, send } = useSending();
  const make = () => send(async () => setLink(await session.api.post("/storage/links", { body: { bucket, key, seconds: Number(seconds) } })));
  const copy = async () => {
    try {
      await navigator.clipboard.writeText(link?.url ?? "");
      session.say(trans.__("The link was copied."), "success");
      onClose();
    } catch {
      session.say(trans.__("The browser did not let it be copied: mark it and copy it by hand."), "error");
    }
  };
  return (
    <Dialog
      title={trans.__("Link to %1", nameOf(key))}
      onClose={onClose}
      actions={
        <>
          <Button onClick={onClose}>{trans.__("Close")}</Button>
          {link ? (
            <Button kind="primary" icon="copy" onClick={() => void copy()}>
              {trans.__("Copy the link")}
            </Button>
          ) : (
            <Button kind="primary" icon="share" disabled={sending} onClick={() => void make()}>
              {trans.__("Make the link")}
            </Button>
          )}
        </>
      }
    >
      <p>{trans.__("Whoever has the link can read this file without a login until it ends. It cannot be taken back before.")}</p>
      <SelectField
        label={trans.__("It works for")}
        value={seconds}
        options={[
          [String(HOUR), trans.__("an hour")],
          [String(24 * HOUR), trans.__("a day")],
          [String(7 * 24 * HOUR), trans.__("a week")],
        ]}
        onValue={(value) => {
          setSeconds(value);
          setLink(null);
        }}
      />
      {link && (
        <>
          <TextField
            label={trans.__("The link")}
            value={link.url}
            onValue={() => undefined}
            hint={trans.__("It ends %1 at the latest; sooner where your login at the store ends sooner.", moment(link.expires))}
          />
          <p>
            <OutsideLink address={link.url}>{trans.__("Download it now")}</OutsideLink>
          </p>
        </>
      )}
      {problem && <ProblemNote problem={problem} retry={() => void make()} />}
    </Dialog>
  );
}
