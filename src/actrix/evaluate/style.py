"""The style sheet and the hover script of a report page (colours are in charts.py)."""

CSS = """
:root { color-scheme: light dark; --up:31,111,180; --down:200,86,15; }
@media (prefers-color-scheme: dark) {
  :root { --up:84,160,235; --down:238,130,60; }
}
* { box-sizing:border-box; }
body { margin:0; background:var(--paper); color:var(--ink);
  font:16px/1.55 system-ui,-apple-system,"Segoe UI", Roboto,"Helvetica Neue",Arial,sans-serif;
  -webkit-text-size-adjust:100%; }
main { max-width:60rem; margin:0 auto; padding:2.2rem 1.25rem 4rem; }
h1 { font-size:2rem; line-height:1.15; margin:0 0 .2rem; letter-spacing:-.02em; text-wrap:balance; }
h2 { font-size:1.3rem; margin:2.6rem 0 .7rem; letter-spacing:-.01em; }
h3 { font-size:1rem; margin:1.8rem 0 .5rem; }
p { margin:.5rem 0; max-width:42rem; }
.soft, figcaption, dt, th { color:var(--soft); }
code, pre, .tokens, .prompt { font-family:ui-monospace,SFMono-Regular,Menlo,Consolas,monospace; }
pre { background:var(--raised); border-radius:8px; padding:.7rem .9rem; white-space:pre-wrap; font-size:.85rem; }
.cards { display:flex; flex-wrap:wrap; gap:1rem 2.4rem; margin:1.3rem 0 .4rem; }
.card b { display:block; font-size:2.3rem; line-height:1.1; font-weight:650; letter-spacing:-.02em;
  font-variant-numeric:tabular-nums; }
.card span { color:var(--soft); font-size:.9rem; }
.card.many b { font-size:1.6rem; }
dl { display:grid; grid-template-columns:repeat(auto-fill,minmax(9.5rem,1fr)); gap:.7rem 1.2rem;
  margin:1.2rem 0; }
dt { font-size:.8rem; }
dd { margin:0; overflow-wrap:anywhere; }
.plot { margin:1.1rem 0; position:relative; }
figcaption { font-size:.88rem; margin-bottom:.35rem; display:flex; flex-wrap:wrap; gap:.2rem 1rem; }
figcaption b { font-weight:600; color:var(--ink); }
.keys { display:flex; flex-wrap:wrap; gap:.1rem 1rem; }
.key { white-space:nowrap; }
.swatch { display:inline-block; width:1rem; height:.22rem; border-radius:2px; vertical-align:.25em;
  margin-right:.4rem; }
.swatch.thin { height:.1rem; opacity:.6; }
.multiples { display:grid; grid-template-columns:repeat(auto-fill,minmax(16rem,1fr)); gap:.2rem 1.6rem; }
.multiples .plot { margin:.5rem 0; }
svg.small text { font-size:12px; }
svg.chart .row { fill:var(--ink); }
.film { display:flex; gap:.6rem; overflow-x:auto; scroll-snap-type:x proximity; padding-bottom:.5rem; }
.film figure { margin:0; flex:0 0 auto; width:15rem; scroll-snap-align:start; }
.film.one figure { width:100%; }
.film img { width:100%; height:auto; display:block; border-radius:6px; background:#fff; }
.film figcaption { margin-top:.3rem; font-variant-numeric:tabular-nums; gap:0 .7rem; font-size:.82rem; }
.scroll { overflow-x:auto; }
table { border-collapse:collapse; font-size:.92rem; width:100%; }
th, td { text-align:left; padding:.38rem .9rem .38rem 0; border-bottom:1px solid var(--rule);
  vertical-align:top; }
th { font-weight:500; font-size:.82rem; }
td.num, th.num { text-align:right; font-variant-numeric:tabular-nums; white-space:nowrap; }
table.settings td:first-child { width:40%; }
td.value { font-family:ui-monospace,Menlo,Consolas,monospace; font-size:.85rem; overflow-wrap:anywhere; }
.columns { columns:2 20rem; column-gap:2.4rem; }
.columns tr { break-inside:avoid; }
.note { border-left:3px solid var(--c1); background:var(--raised); padding:.5rem .9rem;
  border-radius:0 8px 8px 0; font-size:.92rem; max-width:none; }
.trace { border:1px solid var(--rule); border-radius:10px; padding:.8rem 1rem; margin:.9rem 0; }
.prompt, .tokens { white-space:pre-wrap; overflow-wrap:anywhere; font-size:.88rem; line-height:1.75;
  margin:.35rem 0; }
.prompt { color:var(--soft); }
.t { border-radius:3px; padding:.1em 0; }
.t.up { background:rgba(var(--up),var(--a)); }
.t.down { background:rgba(var(--down),var(--a)); }
.t.given { color:var(--soft); text-decoration:underline dotted; }
.parts { font-size:.88rem; display:flex; flex-wrap:wrap; gap:.1rem 1.2rem;
  font-variant-numeric:tabular-nums; }
.tree { margin:.35rem 0; }
.said { display:grid; grid-template-columns:6.5rem 1fr; gap:0 .6rem; margin:.15rem 0 .15rem calc(var(--level) * 1.6rem);
  border-left:2px solid var(--rule); padding-left:.6rem; }
.said .tokens { margin:0; }
.said .parts { grid-column:2; color:var(--soft); font-size:.82rem; }
.role { color:var(--soft); font-size:.82rem; padding-top:.2rem; }
.t.changed { border-bottom:2px solid var(--ink); }
.legend { white-space:nowrap; }
.ramp { display:inline-block; width:9rem; height:.75rem; border-radius:3px; vertical-align:-.08em;
  margin:0 .5rem;
  background:linear-gradient(90deg, rgba(var(--down),.75), rgba(var(--down),0),
    rgba(var(--up),0), rgba(var(--up),.75)); }
details { border-top:1px solid var(--rule); padding:.6rem 0; }
details:last-of-type { border-bottom:1px solid var(--rule); }
summary { cursor:pointer; font-weight:600; }
summary span { font-weight:400; color:var(--soft); }
.tip { position:absolute; pointer-events:none; background:var(--ink); color:var(--paper);
  font-size:.8rem; line-height:1.4; padding:.25rem .55rem; border-radius:5px; white-space:pre; z-index:2;
  font-variant-numeric:tabular-nums; }
footer { margin-top:3rem; font-size:.85rem; color:var(--soft); }
@media (max-width:620px) {
  main { padding-top:1.4rem; }
  h1 { font-size:1.6rem; }
  svg.wide text { font-size:21px; }
  svg.wide .line { stroke-width:3.4; }
  svg.wide .faint { stroke-width:1.6; }
  svg.wide .name { display:none; }
  .film figure { width:13rem; }
}
@media print {
  :root { --ink:#000; --paper:#fff; --raised:#f4f4f4; --soft:#444; --rule:#ccc; }
  body { font-size:11pt; }
  main { max-width:none; padding:0; }
  .film { flex-wrap:wrap; overflow:visible; }
  .scroll { overflow:visible; }
  .multiples { grid-template-columns:repeat(3,1fr); }
  table.comparison { font-size:7.5pt; }
  table.comparison th { font-size:7pt; }
  table.comparison :is(th,td) { padding-right:.5rem; }
  .film figure { width:31%; }
  .plot, .trace, .film figure, tr { break-inside:avoid; }
  h2, h3 { break-after:avoid; }
  .tip { display:none; }
  details::details-content { content-visibility:visible; height:auto; }
  * { print-color-adjust:exact; -webkit-print-color-adjust:exact; }
}
"""

SCRIPT = """
for (const svg of document.querySelectorAll('svg[data-sx]')) {
  const [sx, sy] = [svg.dataset.sx, svg.dataset.sy].map(s => s.split(',').map(Number));
  sx.push(svg.dataset.steps === '1');
  const back = ([low, high, start, end, log], pixel) => {
    const share = (pixel - start) / (end - start);
    return log ? low * Math.pow(high / low, share) : low + share * (high - low); };
  const show = v => Math.abs(v) >= 1000 ? Math.round(v).toLocaleString('en') : String(+v.toPrecision(4));
  const every = [...svg.querySelectorAll('polyline.line')].map(p => [p.dataset.label,
    p.getAttribute('points').split(' ').map(q => q.split(',').map(Number))]);
  const named = every.filter(l => l[0]), lines = named.length ? named : every;
  const plot = svg.parentElement, tip = document.createElement('div');
  tip.className = 'tip'; tip.hidden = true; plot.append(tip);
  const hide = () => { tip.hidden = true; };
  svg.addEventListener('pointerleave', hide);
  svg.addEventListener('pointermove', event => {
    const box = svg.getBoundingClientRect(), outer = plot.getBoundingClientRect();
    const at = (event.clientX - box.left) * svg.viewBox.baseVal.width / box.width;
    const near = lines.map(([label, points]) => [label,
      points.reduce((a, b) => Math.abs(b[0] - at) < Math.abs(a[0] - at) ? b : a)]);
    if (!near.length || at < sx[2] - 8 || at > sx[3] + 8) return hide();
    const best = near.reduce((a, b) => Math.abs(b[1][0] - at) < Math.abs(a[1][0] - at) ? b : a)[1][0];
    const here = near.filter(n => Math.abs(n[1][0] - best) < 6);
    tip.textContent = [(sx[5] ? 'step ' : 'at ') + show(back(sx, best)), ...here.map(([label, p]) =>
      (label ? label + '  ' : '') + show(back(sy, p[1])))].join('\\n');
    tip.hidden = false;
    const left = event.clientX - outer.left + 14, wide = tip.offsetWidth;
    tip.style.left = Math.max(0, left + wide > outer.width ? left - wide - 28 : left) + 'px';
    tip.style.top = (event.clientY - outer.top + 12) + 'px';
  });
}
"""
