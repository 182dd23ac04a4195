export function CodeMenu(_: { refs: readonly string[] }) {
  return null;
}
