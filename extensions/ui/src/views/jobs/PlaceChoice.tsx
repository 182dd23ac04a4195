/** Where a job runs: the back ends that can be reached, how they are, and signing in there. */

import { useEffect, useLayoutEffect, useState } from "preact/hooks";
import type { BackendEntry } from "../../api/schema";
import { Button, Checkbox } from "../../design/controls";
import { Dialog } from "../../design/dialog";
import { Badge, Note, ProblemNote, Waiting } from "../../design/feedback";
import { OutsideLink, safeHref } from "../../design/link";
import { useTranslation } from "../../i18n";
import { useAsked, useSending, useSession, useStore } from "../../state/hooks";
import { engineName } from "./words";

type Engine = BackendEntry["engine"];

/** An engine and a back end of it. */
export interface Place {
  engine: Engine;
  id: string;
}

interface PlaceChoiceProps {
  engines: readonly Engine[];
  chosen: Place | null;
  onChoose: (place: Place) => void;
  /** Somebody was signing in there: what it says to them may be another now. */
  onSignedIn?: () => void;
}

export function PlaceChoice({ engines, chosen, onChoose, onSignedIn }: PlaceChoiceProps) {
  const trans = useTranslation();
  const session = useSession();
  const asked = useAsked([session], (signal) => session.api.get("/jobs/backends", { signal }));
  const jobs = useStore(session.jobs.state, (state) => state.jobs);
  const [login, setLogin] = useState<BackendEntry | null>(null);
  const places = (asked.value?.backends ?? []).filter(({ engine, limits = {} }) => engines.includes(engine) && !("connect" in limits));
  const wanted = engines.join(" ");
  // Before anybody can choose: a choice that follows at once stays.
  useLayoutEffect(() => {
    const there = places.some(({ engine, id }) => engine === chosen?.engine && id === chosen.id);
    const first = places.find(({ online }) => online) ?? places[0];
    if (!there && first) onChoose({ engine: first.engine, id: first.id });
  }, [asked.value, wanted]);
  return (
    <fieldset class="cs-choices">
      <legend class="cs-label">{trans.__("Where it runs")}</legend>
      {asked.problem && <ProblemNote problem={asked.problem} retry={asked.retry} />}
      {asked.waiting && !asked.value && <Waiting>{trans.__("Asking the back ends how they are…")}</Waiting>}
      {asked.value && !places.length && <Note tone="warning" title={trans.__("No place of this site can run it.")} />}
      {places.map((place) => {
        const mine = jobs.filter(({ spec }) => spec.engine === place.engine && (spec.backend || places[0]?.id) === place.id);
        const waiting = mine.filter(({ status }) => status === "queued" || status === "created").length;
        const running = mine.filter(({ status }) => status === "running").length;
        const limits = Object.entries(place.limits ?? {}).filter(([, value]) => typeof value !== "object");
        return (
          <label class="cs-choice" key={`${place.engine} ${place.id}`}>
            <input
              type="radio"
              name="cs-place"
              checked={chosen?.engine === place.engine && chosen.id === place.id}
              onChange={() => onChoose({ engine: place.engine, id: place.id })}
            />
            <span>
              <strong>{place.title || place.id}</strong>
              <span>
                <Badge tone={place.online ? "success" : "error"}>{place.online ? trans.__("answers") : trans.__("does not answer")}</Badge>{" "}
                <span class="cs-hint">
                  {versionOf(place, engineName(place.engine, trans))}
                  {place.online && place.seconds > 0.001 && ` · ${trans.__("%1 s", Number(place.seconds.toPrecision(2)))}`}
                </span>
              </span>
              {place.problem && <span class="cs-hint cs-wrong">{place.problem}</span>}
              <span class="cs-hint">
                {trans.__("Your jobs there: %1 waiting, %2 running", waiting, running)}
                {limits.length > 0 && ` · ${trans.__("at most %1", limits.map(([name, value]) => `${name.replaceAll("_", " ")} ${String(value)}`).join(", "))}`}
              </span>
              {place.logins.includes("hub") && <span class="cs-hint">{trans.__("Your login at the hub is used there.")}</span>}
              {place.logins.includes("oidc") && (
                <span>
                  <Button
                    onClick={(event) => {
                      event.preventDefault();
                      setLogin(place);
                    }}
                  >
                    {trans.__("Sign in…")}
                  </Button>
                </span>
              )}
            </span>
          </label>
        );
      })}
      {login && (
        <LoginDialog
          place={login}
          onClose={() => {
            setLogin(null);
            asked.retry();
            onSignedIn?.();
          }}
        />
      )}
    </fieldset>
  );
}

/** The engine and its version, which may begin with the engine's name. */
function versionOf({ version }: BackendEntry, name: string): string {
  return version?.toLowerCase().startsWith(name.toLowerCase()) ? version : `${name} ${version ?? ""}`.trim();
}

const ASK_AGAIN = 2500;

/** Signing in at a back end by a code. */
function LoginDialog({ place, onClose }: { place: BackendEntry; onClose: () => void }) {
  const trans = useTranslation();
  const { api } = useSession();
  const path = { backend: place.id };
  const [keep, setKeep] = useState(false);
  const { sending, problem, send } = useSending();
  const asked = useAsked([place.id], (signal) => api.get("/jobs/backends/{backend}/login", { path, signal }));
  const login = asked.value?.login ?? null;
  const pending = login?.state === "pending";
  useEffect(() => {
    if (!pending) return;
    const timer = setTimeout(asked.retry, ASK_AGAIN);
    return () => clearTimeout(timer);
  }, [asked.value]);
  const begin = () =>
    send(async () => {
      await api.post("/jobs/backends/{backend}/login", { path, body: { keep } });
      asked.retry();
    });
  const address = login?.verification_uri_complete || login?.verification_uri;
  return (
    <Dialog
      title={trans.__("Sign in at %1", place.title || place.id)}
      onClose={onClose}
      actions={
        <>
          <Button onClick={onClose}>{trans.__("Close")}</Button>
          {!pending && (
            <Button kind="primary" disabled={sending} onClick={() => void begin()}>
              {trans.__("Begin to sign in")}
            </Button>
          )}
        </>
      }
    >
      {!pending && (
        <>
          <p>{trans.__("Your login at the hub is used where the back end accepts it. Where it does not, sign in here by a code.")}</p>
          <Checkbox checked={keep} onChecked={setKeep} label={trans.__("Keep the login when this server stops")} />
        </>
      )}
      {login?.state === "done" && <Note tone="success" title={trans.__("You are signed in.")} />}
      {login && login.state !== "done" && !pending && <Note tone="warning" title={trans.__("It did not come to an end.")}>{login.problem}</Note>}
      {pending && (
        <>
          <p>
            {safeHref(login?.verification_uri_complete) ? trans.__("Open this page, and go on there if it shows this code:") : trans.__("Open this page and type this code:")}
            <br />
            <OutsideLink address={address}>{safeHref(address) ? login.verification_uri : trans.__("The back end named no page that can be opened.")}</OutsideLink>
          </p>
          <p>
            <strong class="cs-mono">{login.user_code}</strong>
          </p>
          <Waiting>{trans.__("Waiting for you…")}</Waiting>
        </>
      )}
      {problem ? <ProblemNote problem={problem} retry={() => void begin()} /> : asked.problem && <ProblemNote problem={asked.problem} retry={asked.retry} />}
    </Dialog>
  );
}
