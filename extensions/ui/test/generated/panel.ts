/** Stands in for the version that the build makes. */
export const VERSION = "0123456789abcdef";
