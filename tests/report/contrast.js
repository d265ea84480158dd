/* [contrast, text] of every visible text, as WCAG 2 measures it: computed colours, see-through ones laid on what is below. */
() => {
  const parts = (color) => {
    const found = color.match(/[\d.]+/g).map(Number);
    return { rgb: found.slice(0, 3), alpha: found.length > 3 ? found[3] : 1 };
  };
  const over = (top, alpha, below) => top.map((value, i) => alpha * value + (1 - alpha) * below[i]);
  const ground = (element) => {
    if (!element) return [255, 255, 255];
    const { rgb, alpha } = parts(getComputedStyle(element).backgroundColor);
    return alpha === 1 ? rgb : over(rgb, alpha, ground(element.parentElement));
  };
  const luminance = (rgb) => {
    const [r, g, b] = rgb.map((value) => value / 255).map((v) => (v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4));
    return 0.2126 * r + 0.7152 * g + 0.0722 * b;
  };
  const opacity = (element) => (element ? Number(getComputedStyle(element).opacity) * opacity(element.parentElement) : 1);
  const contrast = (color, element) => {
    const below = ground(element), { rgb, alpha } = parts(color);
    const [light, dark] = [luminance(over(rgb, alpha * opacity(element), below)), luminance(below)].sort((a, b) => b - a);
    return (light + 0.05) / (dark + 0.05);
  };
  const found = [];
  for (const element of document.body.querySelectorAll("*")) {
    const own = Array.from(element.childNodes).filter((node) => node.nodeType === 3).map((node) => node.data).join("").trim();
    const style = getComputedStyle(element), placeholder = element.placeholder || "";
    const invisible = !element.getClientRects().length || style.visibility === "hidden" || element.closest(".hidden, script, style, title");
    if (invisible || !(own || placeholder)) continue;
    if (own) found.push([contrast(element instanceof SVGElement ? style.fill : style.color, element), own.slice(0, 60)]);
    if (placeholder) found.push([contrast(getComputedStyle(element, "::placeholder").color, element), placeholder]);
  }
  return found;
}
