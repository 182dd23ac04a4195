/** Words in the person's language: the interface of JupyterLab's translation bundles. */

import { createContext } from "preact";
import { useContext } from "preact/hooks";

/** `%1`, `%2`, … stand for the arguments; in `_n`, `%1` for the number. */
export interface Translation {
  __(text: string, ...values: unknown[]): string;
  _n(one: string, many: string, count: number, ...values: unknown[]): string;
}

function filled(text: string, values: unknown[]): string {
  return text.replace(/%(\d)/g, (whole, place: string) => String(values[Number(place) - 1] ?? whole));
}

/** The texts as they are in the code. */
export const english: Translation = {
  __: (text, ...values) => filled(text, values),
  _n: (one, many, count, ...values) => filled(count === 1 ? one : many, [count, ...values]),
};

export const TranslationContext = createContext<Translation>(english);

export function useTranslation(): Translation {
  return useContext(TranslationContext);
}
