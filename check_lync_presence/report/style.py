"""How a report looks: light, dark and on paper, with the fonts that are there."""

STYLE = """
:root {
  color-scheme: light dark;
  --paper: #ffffff; --panel: #f6f7f9; --ink: #1c2127; --soft: #5c6672; --line: #dfe3e8; --faint: #eef0f3;
  --publisher: #1f5fd0; --subscriber: #7c3aad; --proof: #12734a;
  --ok: #12734a; --warning: #8f5b00; --critical: #b3261e; --unknown: #5c6672;
  --mono: ui-monospace, "SFMono-Regular", "DejaVu Sans Mono", Menlo, Consolas, monospace;
}
@media screen and (prefers-color-scheme: dark) {
  :root {
    --paper: #12161b; --panel: #191f26; --ink: #e4e8ed; --soft: #97a3b0; --line: #2c343d; --faint: #1f262e;
    --publisher: #7fb0ff; --subscriber: #d0a3f5; --proof: #5fd39a;
    --ok: #5fd39a; --warning: #f0b94d; --critical: #ff8a80; --unknown: #a9b4c0;
  }
}
* { box-sizing: border-box; }
body {
  margin: 0; background: var(--paper); color: var(--ink);
  font: 16px/1.5 system-ui, "Segoe UI", "Helvetica Neue", "DejaVu Sans", Arial, sans-serif;
}
main { max-width: 62rem; margin: 0 auto; padding: 2.5rem 1.5rem 4rem; }
h1, h2, h3 { font-weight: 600; line-height: 1.3; margin: 0; }
h1 { font-size: 1.6rem; overflow-wrap: anywhere; text-wrap: balance; }
h2 { font-size: 1.05rem; margin: 2.75rem 0 .75rem; padding-bottom: .4rem; border-bottom: 1px solid var(--line); }
h3 { font-size: .95rem; margin: 1.75rem 0 .5rem; }
p { margin: .5rem 0; }
.verdict { border-left: .35rem solid var(--state); padding: .15rem 0 .15rem 1.25rem; }
.OK { --state: var(--ok); } .WARNING { --state: var(--warning); }
.CRITICAL { --state: var(--critical); } .UNKNOWN { --state: var(--unknown); }
.state { color: var(--state); font-weight: 700; letter-spacing: .06em; font-size: .85rem; margin: 0 0 .15rem; }
.facts { color: var(--soft); font-size: .9rem; margin: .6rem 0 0; display: flex; flex-wrap: wrap; gap: .1rem 1.25rem; }
.advice { margin: 0; padding: 0; list-style: none; }
.advice li { margin: .6rem 0; padding-left: 1.25rem; position: relative; overflow-wrap: anywhere; }
.advice li::before { content: ""; position: absolute; left: 0; top: .6em; width: .45rem; height: .45rem;
  border-radius: 50%; background: var(--soft); }
dl { display: grid; grid-template-columns: minmax(9rem, max-content) 1fr; margin: 0; font-size: .9rem; }
dt, dd { padding: .3rem 0; border-bottom: 1px solid var(--faint); margin: 0; }
dt { color: var(--soft); padding-right: 1.5rem; }
dd { overflow-wrap: anywhere; font-variant-numeric: tabular-nums; }
.legend { color: var(--soft); font-size: .85rem; margin: 0 0 .75rem; }
.legend b { font-weight: 600; }
.publisher { color: var(--publisher); } .subscriber { color: var(--subscriber); }
.wide { overflow-x: auto; }
svg { display: block; width: 100%; min-width: 44rem; height: auto;
  font: 13px system-ui, "DejaVu Sans", Arial, sans-serif; }
svg text { fill: var(--ink); font-variant-numeric: tabular-nums; }
svg .soft { fill: var(--soft); font-size: 12px; }
svg .end { text-anchor: end; } svg .middle { text-anchor: middle; }
svg .grid { stroke: var(--line); stroke-width: 1; } svg .life { stroke: var(--line); stroke-width: 2; }
svg .publisher, svg .head.publisher { fill: var(--publisher); } svg .subscriber { fill: var(--subscriber); }
svg line.publisher, svg path.publisher { stroke: var(--publisher); }
svg line.subscriber, svg path.subscriber { stroke: var(--subscriber); }
svg line.arrow, svg path.arrow { stroke-width: 1.5; fill: none; }
svg line.failed { stroke-dasharray: 3 4; }
svg .head { font-weight: 600; }
svg text.bad { fill: var(--critical); font-weight: 600; } svg rect.bad { fill: var(--critical); }
svg text.proof { fill: var(--proof); font-weight: 600; }
svg line.proof, svg path.proof { stroke: var(--proof); stroke-width: 2.5; }
svg rect { rx: 3px; } svg rect.open { opacity: .35; }
svg a { text-decoration: none; } svg a:hover text, svg a:focus text { text-decoration: underline; }
details { border-bottom: 1px solid var(--faint); }
summary { cursor: pointer; padding: .4rem 0; font-size: .9rem; display: grid; align-items: baseline; gap: 0 .9rem;
  grid-template-columns: 4.8rem 1.2rem minmax(0, 1fr) max-content; font-variant-numeric: tabular-nums; }
summary:hover, summary:focus-visible { background: var(--panel); }
summary .at { color: var(--soft); text-align: right; }
summary .line { font-family: var(--mono); font-size: .82rem;
  white-space: nowrap; overflow: hidden; text-overflow: ellipsis; }
summary .who { font-size: .8rem; }
.bad { color: var(--critical); } .proof { color: var(--proof); }
pre { margin: 0 0 .9rem; padding: .9rem 1.1rem; border: 1px solid var(--line); border-radius: 6px;
  background: var(--panel);
  font: .8rem/1.5 var(--mono); white-space: pre-wrap; overflow-wrap: anywhere; scroll-margin-top: 4rem; }
pre b { font-weight: 600; color: var(--soft); }
pre:target { border-color: var(--ink); }
footer { margin-top: 3rem; color: var(--soft); font-size: .85rem; }
@media print {
  @page { margin: 15mm; }
  body { font-size: 10.5pt; }
  main { max-width: none; padding: 0; }
  svg { min-width: 0; max-height: 230mm; break-inside: avoid; }
  h2, h3, summary { break-after: avoid; }
  dl, .advice li { break-inside: avoid; }
  details::details-content { content-visibility: visible; display: block; }
  pre { font-size: 7.5pt; border: none; border-left: 2px solid var(--line); border-radius: 0; background: none; }
}
"""
