"""The looks of a page: one style sheet, with colours for light and for dark surroundings."""

CSS = """
:root{--paper:#fff;--ink:#1c2024;--soft:#5b636c;--line:#d8dde2;--box:#f5f7f9;--accent:#0b66c3;
--error:#b3261e;--warning:#8a5a00;--note:#3b5b7a;--good:#1a7340}
@media (prefers-color-scheme:dark){:root{--paper:#14171a;--ink:#e4e7ea;--soft:#a3acb5;--line:#343b42;--box:#1d2226;
--accent:#6cb2f5;--error:#ff8a80;--warning:#ffc35c;--note:#9cc3e8;--good:#72d49a}}
*{box-sizing:border-box}
body{margin:0 auto;padding:1.2rem clamp(.8rem,3vw,2rem) 3rem;max-width:75rem;background:var(--paper);color:var(--ink);
font:16px/1.5 system-ui,-apple-system,"Segoe UI",Roboto,"Helvetica Neue",Arial,sans-serif;overflow-wrap:anywhere}
header p{margin:.2rem 0 0;color:var(--soft)}
h1{margin:0;font-size:1.6rem;line-height:1.25}
h2{margin:2.2rem 0 .7rem;font-size:1.2rem;border-bottom:1px solid var(--line);padding-bottom:.25rem}
h3{margin:1.2rem 0 .4rem;font-size:1rem}
p{margin:.5rem 0}
a{color:var(--accent)}
pre{margin:.5rem 0;padding:.5rem .7rem;background:var(--box);border:1px solid var(--line);border-radius:6px;
white-space:pre-wrap;font-size:.85rem}
pre.file{white-space:pre;overflow-x:auto}
code{font-family:ui-monospace,SFMono-Regular,Menlo,Consolas,"DejaVu Sans Mono",monospace}
.notice{margin:.7rem 0;padding:.5rem .9rem;background:var(--box);border-left:5px solid var(--tone);border-radius:4px}
.notice .label{color:var(--tone);font-weight:700;font-size:.8rem;text-transform:uppercase;letter-spacing:.04em;
margin-right:.35rem}
.error{--tone:var(--error)}.warning{--tone:var(--warning)}.note{--tone:var(--note)}.good{--tone:var(--good)}
.scroll{overflow-x:auto;margin:.7rem 0}
table{border-collapse:collapse;font-size:.9rem;overflow-wrap:normal}
th,td{padding:.3rem .8rem .3rem 0;text-align:left;vertical-align:top;border-bottom:1px solid var(--line)}
th{color:var(--soft);font-weight:600;white-space:nowrap}
.number{text-align:right;font-variant-numeric:tabular-nums;white-space:nowrap}
dl{margin:.7rem 0;font-size:.95rem}
dl div{display:grid;grid-template-columns:11rem 1fr;gap:0 1rem;padding:.3rem 0;border-bottom:1px solid var(--line)}
dt{color:var(--soft)}dd{margin:0}
details{margin:.6rem 0}summary{cursor:pointer;color:var(--accent)}
.gallery{display:grid;grid-template-columns:repeat(auto-fill,minmax(15rem,1fr));gap:1rem;margin:.8rem 0}
.gallery.small{grid-template-columns:repeat(auto-fill,minmax(8rem,1fr));gap:.6rem}
.charts{display:grid;grid-template-columns:repeat(auto-fill,minmax(min(20rem,100%),1fr));gap:1.2rem;margin:.8rem 0}
figure{margin:0;min-width:0}
figcaption{font-size:.82rem;color:var(--soft);margin-top:.25rem;line-height:1.35}
img{display:block;max-width:100%;height:auto;border-radius:3px}
.gallery img{width:100%}
svg{display:block;width:100%;height:auto;font:12px system-ui,Arial,sans-serif}
svg text{fill:var(--soft)}svg .value{fill:var(--ink)}svg .bar{fill:var(--accent)}
svg .axis{stroke:var(--line);stroke-width:1}
svg .second{stroke:var(--error)}svg .curve{fill:none;stroke-width:2}svg .first{stroke:var(--accent)}
.key{display:inline-block;width:.8em;height:.8em;border:1px solid var(--soft);margin-right:.35em;vertical-align:-.05em}
@media (max-width:34rem){dl div{grid-template-columns:1fr}dt{font-size:.85rem}h1{font-size:1.3rem}
.gallery{grid-template-columns:repeat(auto-fill,minmax(10rem,1fr))}
.gallery.small{grid-template-columns:repeat(auto-fill,minmax(6.5rem,1fr))}}
@media print{details{display:block}}
""".replace("\n", "")
