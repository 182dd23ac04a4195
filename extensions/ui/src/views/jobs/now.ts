/** The time, for texts that grow older while they are looked at. */

import { useEffect, useState } from "preact/hooks";

/** Milliseconds; new every so often while `ticking`. */
export function useNow(ticking: boolean, every = 1000): number {
  const [now, setNow] = useState(Date.now);
  useEffect(() => {
    setNow(Date.now());
    if (!ticking) return;
    const timer = setInterval(() => setNow(Date.now()), every);
    return () => clearInterval(timer);
  }, [ticking, every]);
  return now;
}
