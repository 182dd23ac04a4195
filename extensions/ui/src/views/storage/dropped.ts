/** The files that were dropped on a page, those in folders with their paths. */

export interface Chosen {
  /** Relative to where it was dropped. */
  path: string;
  file: File;
}

const MOST = 5_000;

async function childrenOf(folder: FileSystemDirectoryEntry): Promise<FileSystemEntry[]> {
  const reader = folder.createReader();
  const all: FileSystemEntry[] = [];
  for (;;) {
    const some = await new Promise<FileSystemEntry[]>((done, failed) => reader.readEntries(done, failed));
    if (!some.length) return all;
    all.push(...some);
  }
}

async function collect(entry: FileSystemEntry, path: string, into: Chosen[]): Promise<void> {
  if (into.length >= MOST) return;
  if (entry.isFile) {
    const file = await new Promise<File>((done, failed) => (entry as FileSystemFileEntry).file(done, failed));
    into.push({ path: path + entry.name, file });
  } else {
    for (const child of await childrenOf(entry as FileSystemDirectoryEntry)) await collect(child, `${path}${entry.name}/`, into);
  }
}

/** What is dropped can be asked only while the event is handled, so this begins at once. */
export async function filesOf(dropped: DataTransfer): Promise<Chosen[]> {
  const entries = [...dropped.items].map((item) => (item.kind === "file" ? (item.webkitGetAsEntry?.() ?? null) : null));
  const plain = [...dropped.files].map((file) => ({ path: file.name, file }));
  if (!entries.some((entry) => entry?.isDirectory)) return plain;
  const found: Chosen[] = [];
  for (const entry of entries) if (entry) await collect(entry, "", found);
  return found;
}

/** Those of a file chooser. */
export function chosenFiles(files: FileList | null): Chosen[] {
  return [...(files ?? [])].map((file) => ({ path: file.name, file }));
}
