// The style sheet of the report: system fonts, two data colours that differ in lightness too, light and dark.
//
// Does not: load anything; the page must open from a USB stick without a network.

export const reportStyle = `
:root { color-scheme: light dark; --page: #f7f7f5; --card: #ffffff; --ink: #1c1f24; --soft: #5b6270; --line: #e0e1dd;
  --one: #1f5fbf; --two: #c2570c; --good: #d7e5f7; --bad: #fbe6d4; }
@media (prefers-color-scheme: dark) { :root { --page: #14161a; --card: #1c1f25; --ink: #e9eaec; --soft: #a3a9b5;
  --line: #32363f; --one: #7fb0ff; --two: #f2a35e; --good: #24344d; --bad: #47301c; } }
* { box-sizing: border-box; }
body { margin: 0; background: var(--page); color: var(--ink); font: 16px/1.55 system-ui, -apple-system, "Segoe UI", sans-serif; }
main { max-width: 1040px; margin: 0 auto; padding: 40px 20px 64px; }
h1 { font-size: 2.1rem; line-height: 1.15; margin: 0 0 8px; letter-spacing: -0.02em; }
h2 { font-size: 1.25rem; margin: 0 0 4px; letter-spacing: -0.01em; }
p { margin: 0 0 12px; max-width: 74ch; }
.lead { font-size: 1.1rem; color: var(--soft); margin-bottom: 24px; }
section { background: var(--card); border: 1px solid var(--line); border-radius: 12px; padding: 22px 24px; margin: 0 0 20px; }
section > p { color: var(--soft); }
.tiles { display: grid; grid-template-columns: repeat(auto-fit, minmax(200px, 1fr)); gap: 14px; margin: 0 0 20px; padding: 0; list-style: none; }
.tiles li { background: var(--card); border: 1px solid var(--line); border-radius: 12px; padding: 16px 18px; }
.tiles b { display: block; font-size: 1.75rem; line-height: 1.2; letter-spacing: -0.02em; font-variant-numeric: tabular-nums; }
.tiles span { color: var(--soft); font-size: 0.9rem; }
table { border-collapse: collapse; width: 100%; font-variant-numeric: tabular-nums; font-size: 0.93rem; }
th, td { text-align: left; padding: 6px 10px 6px 0; border-bottom: 1px solid var(--line); vertical-align: top; }
th { color: var(--soft); font-weight: 600; }
td.number, th.number { text-align: right; }
tr.marked td { background: var(--bad); font-weight: 600; } .part-useful { fill: var(--one); } .part-lost { fill: var(--two); } .part-else { fill: var(--soft); fill-opacity: 0.35; }
td.bar { width: 34%; min-width: 120px; vertical-align: middle; }
.bar i { display: block; height: 12px; border-radius: 3px; background: var(--one); min-width: 2px; }
.scroll { overflow-x: auto; }
.tall { max-height: 420px; overflow: auto; }
details { margin-top: 12px; }
summary { cursor: pointer; color: var(--one); }
code { font-size: 0.86em; overflow-wrap: anywhere; }
.legend { display: flex; flex-wrap: wrap; gap: 6px 20px; margin: 4px 0 8px; padding: 0; list-style: none; color: var(--soft); font-size: 0.9rem; }
.legend i { display: inline-block; width: 12px; height: 12px; border-radius: 3px; margin-right: 7px; vertical-align: -1px; background: var(--one); }
.legend .two i { background: var(--two); border-radius: 50%; }
svg { display: block; width: 100%; height: auto; overflow: visible; margin-top: 6px; font-family: inherit; }
.grid { stroke: var(--line); } .edge { fill: none; stroke: var(--soft); stroke-opacity: 0.45; stroke-width: 1.3; }
.tick, .label, .note, .box-note { fill: var(--soft); font-size: 12px; } .box-note { font-size: 10px; }
.box { fill: var(--good); stroke: var(--one); stroke-opacity: 0.5; } .box-title { fill: var(--ink); font-size: 10.5px; font-weight: 600; }
.line-1, .line-2, .faint-1 { fill: none; stroke: var(--one); stroke-width: 2.2; stroke-linejoin: round; } .line-2 { stroke: var(--two); }
.faint-1 { stroke-width: 1; stroke-opacity: 0.35; }
.mark-1 { fill: var(--one); } .mark-2 { fill: var(--two); } .column-1 { fill: var(--one); }
.whisker-1, .whisker-2 { stroke: var(--one); stroke-width: 5; stroke-opacity: 0.35; } .whisker-2 { stroke: var(--two); }
.reference { stroke: var(--two); stroke-dasharray: 5 4; }
footer { color: var(--soft); font-size: 0.88rem; }
@media print { body { background: none; } section, .tiles li { break-inside: avoid; } }
`;
