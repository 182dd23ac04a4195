/** References of items: `PROVIDER|COLLECTION|ID`, each part percent-encoded. */

export interface RefParts {
  provider: string;
  collection: string;
  id: string;
}

function decoded(text: string | undefined): string {
  try {
    return decodeURIComponent(text ?? "");
  } catch {
    return text ?? "";
  }
}

export function refParts(ref: string): RefParts {
  const [provider, collection, id] = ref.split("|");
  return { provider: decoded(provider), collection: decoded(collection), id: decoded(id) };
}
