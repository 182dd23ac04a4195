/** Process graphs of openEO, as far as they are looked at before a back end does. */

type Json = Record<string, unknown>;

export interface GraphNode {
  id: string;
  process: string;
  /** Nodes that it takes the results of. */
  from: string[];
  result: boolean;
}

export interface Graph {
  /** The nodes and nothing around them. */
  nodes: Json;
  list: GraphNode[];
  /** What can be seen to be wrong. */
  faults: GraphFault[];
}

export type GraphFault =
  | { kind: "empty" }
  | { kind: "no-process"; node: string }
  | { kind: "unknown-node"; node: string; other: string }
  | { kind: "no-result" }
  | { kind: "two-results" }
  | { kind: "unknown-process"; node: string; process: string };

function isObject(value: unknown): value is Json {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}

/** The graph in what was written or pasted: bare, as a process, or as a job's process. */
export function graphOf(document: Json): Json {
  for (const inside of [document.process_graph, isObject(document.process) ? document.process.process_graph : undefined]) {
    if (isObject(inside)) return inside;
  }
  return document;
}

/** What it takes: `from_node` anywhere in the arguments, but not in graphs within, which have nodes of their own. */
function sources(value: unknown, found: Set<string>, depth = 0): void {
  if (depth > 50) return;
  if (Array.isArray(value)) for (const each of value) sources(each, found, depth + 1);
  else if (isObject(value)) {
    if (typeof value.from_node === "string") found.add(value.from_node);
    for (const [name, each] of Object.entries(value)) if (name !== "process_graph") sources(each, found, depth + 1);
  }
}

/**
 * @param known names of the processes of the back end; null: not known.
 */
export function readGraph(document: Json, known: ReadonlySet<string> | null): Graph {
  const nodes = graphOf(document);
  const faults: GraphFault[] = [];
  const list: GraphNode[] = [];
  for (const [id, node] of Object.entries(nodes)) {
    const process = isObject(node) && typeof node.process_id === "string" ? node.process_id : "";
    if (!process) {
      faults.push({ kind: "no-process", node: id });
      continue;
    }
    const from = new Set<string>();
    sources((node as Json).arguments, from);
    for (const other of from) if (!(other in nodes)) faults.push({ kind: "unknown-node", node: id, other });
    if (known && !known.has(process)) faults.push({ kind: "unknown-process", node: id, process });
    list.push({ id, process, from: [...from], result: (node as Json).result === true });
  }
  const results = list.filter(({ result }) => result).length;
  if (!Object.keys(nodes).length) faults.push({ kind: "empty" });
  else if (!results) faults.push({ kind: "no-result" });
  else if (results > 1) faults.push({ kind: "two-results" });
  return { nodes, list, faults };
}
