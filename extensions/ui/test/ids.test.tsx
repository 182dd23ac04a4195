import { render, screen, within } from "@testing-library/preact";
import { describe, expect, it } from "vitest";
import { TextField } from "../src/design/controls";

describe("ids of elements", () => {
  it("are others in each panel of a page, so that labels name the field beside them", () => {
    for (const name of ["side", "main"]) {
      render(
        <section aria-label={name}>
          <TextField label="Name" value={name} onValue={() => undefined} />
        </section>,
      );
    }
    for (const name of ["side", "main"]) {
      const field = within(screen.getByRole("region", { name })).getByRole("textbox", { name: "Name" }) as HTMLInputElement;
      expect(field.value).toBe(name);
    }
  });
});
