// Files dropped anywhere on the page.

export function acceptDrops(page: HTMLElement, take: (files: File[]) => void): void {
  let depth = 0; // dragenter and dragleave come for every element on the way
  const carriesFiles = (event: DragEvent): boolean => event.dataTransfer?.types.includes("Files") ?? false;
  const show = (): unknown => page.classList.toggle("dropping", depth > 0);
  page.addEventListener("dragenter", (event) => {
    if (!carriesFiles(event)) return;
    depth += 1;
    show();
  });
  page.addEventListener("dragleave", (event) => {
    if (!carriesFiles(event)) return;
    depth = Math.max(0, depth - 1);
    show();
  });
  page.addEventListener("dragover", (event) => {
    if (carriesFiles(event)) event.preventDefault();
  });
  page.addEventListener("drop", (event) => {
    if (!carriesFiles(event)) return;
    event.preventDefault();
    depth = 0;
    show();
    take([...(event.dataTransfer?.files ?? [])]);
  });
}
