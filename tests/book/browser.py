"""The built book in a browser:  python tests/book/browser.py book/_build/html [screenshots]

A script and no test of pytest's: it needs the built book, and .ci/run runs it. Debian's
chromium by selenium, without a network. Each page has to load with no console error and no
request that leaves the machine; mathematics is typeset, on a phone as large as the text;
pictures have words and are not blank; what can be moved answers; what is folded says what it
is; what scrolls can be reached by the keyboard; a dark page prints dark on white; search
finds; links lead somewhere; nothing overflows a phone. With a second argument, screenshots
of every page go there: light, dark and phone. The last line counts; the exit status is 1
where something failed.
"""
# ruff: noqa: E501 (it holds JavaScript)
from __future__ import annotations

import base64
import functools
import http.server
import json
import re
import shutil
import sys
import tempfile
import threading
import time
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urldefrag, urljoin, urlsplit

from selenium import webdriver
from selenium.webdriver.chrome.service import Service

PHONE, DESK = (390, 844), (1280, 900)
passed, failed = 0, []


def check(ok, page: str, what: str, detail="") -> None:
    """Count one check; say so where it failed."""
    global passed
    if ok:
        passed += 1
    else:
        failed.append(f"{page}: {what}")
        print(f"FAIL {page}: {what} {str(detail)[:600]}".rstrip(), flush=True)


class Page(HTMLParser):
    """The links and the anchors of an HTML file."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.links, self.ids = [], set()
        self.feed(text)

    def handle_starttag(self, tag, attributes):
        own = dict(attributes)
        self.ids |= {own[k] for k in ("id", "name") if own.get(k)}
        if tag == "a" and own.get("href"):
            self.links.append(own["href"])
        if tag in ("img", "script") and own.get("src"):
            self.links.append(own["src"])
        if tag == "link" and own.get("href"):
            self.links.append(own["href"])


def serve(folder: Path) -> tuple[str, list[str]]:
    """Serve a folder from this machine; what could not be found comes into the list."""
    missing = []

    class Handler(http.server.SimpleHTTPRequestHandler):
        def log_message(self, *_):
            pass

        def send_error(self, code, *rest):
            missing.append(f"{code} {self.path}")
            super().send_error(code, *rest)

    server = http.server.ThreadingHTTPServer(
        ("127.0.0.1", 0), functools.partial(Handler, directory=str(folder)))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    return f"http://127.0.0.1:{server.server_port}/", missing


def browser(profile: str) -> webdriver.Chrome:
    options = webdriver.ChromeOptions()
    options.binary_location = shutil.which("chromium") or "/usr/bin/chromium"
    for flag in ("--headless=new", "--no-sandbox", "--disable-gpu", "--no-first-run",
                 "--disable-background-networking", "--disable-component-update",
                 "--disable-sync", "--disable-dev-shm-usage", "--hide-scrollbars",
                 f"--user-data-dir={profile}", f"--window-size={DESK[0]},{DESK[1]}",
                 "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1"):
        options.add_argument(flag)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    driver = webdriver.Chrome(
        options, Service(shutil.which("chromedriver") or "/usr/bin/chromedriver"))
    driver.set_page_load_timeout(120)
    driver.set_script_timeout(120)
    return driver


READY = """
const done = arguments[0];
const wait = () => (window.MathJax && MathJax.startup && MathJax.startup.promise)
  ? MathJax.startup.promise.then(() => setTimeout(done, 150)) : setTimeout(done, 150);
if (!document.querySelector(".math")) setTimeout(done, 150);
else { let n = 0; const t = setInterval(() => {
  if ((window.MathJax && MathJax.startup && MathJax.startup.promise) || ++n > 100) {
    clearInterval(t); wait(); } }, 50); }
"""

MATHS = """
const all = [...document.querySelectorAll("span.math, div.math")];
return {all: all.length, raw: all.filter(m => !m.querySelector("mjx-container svg, mjx-container mjx-math"))
  .map(m => m.textContent.slice(0, 80)), errors: [...document.querySelectorAll("mjx-merror, [data-mml-node=merror]")]
  .map(m => m.parentElement.textContent.slice(0, 120)),
  loose: (document.querySelector("article") || document.body).innerText.match(/\\\\(frac|mathbb|gamma|sum)\\b/g) || []};
"""

PICTURES = """
const seen = [];
const varies = (c) => { const d = c.getContext("2d").getImageData(0, 0, c.width, c.height).data;
  for (let i = 4; i < d.length; i += 4) if (d[i]!=d[0]||d[i+1]!=d[1]||d[i+2]!=d[2]||d[i+3]!=d[3]) return true;
  return false; };
document.querySelectorAll("details").forEach(d => d.open = true);
for (const i of document.querySelectorAll("article img, main img")) {
  const c = document.createElement("canvas"); c.width = Math.min(i.naturalWidth, 400) || 1;
  c.height = Math.min(i.naturalHeight, 400) || 1;
  c.getContext("2d").drawImage(i, 0, 0, c.width, c.height);
  seen.push(["img", i.src.slice(0, 80), (i.alt || "").trim().length > 7, i.naturalWidth > 1 && varies(c)]);
}
for (const s of document.querySelectorAll("figure.cave svg, .cave-box svg, .cell_output svg")) {
  if (s.closest("button")) continue;
  const words = s.getAttribute("aria-label") || (s.querySelector("title") || {}).textContent || "";
  const drawn = s.querySelectorAll("path, line, rect, circle, text, polygon, polyline, image, use").length;
  seen.push(["svg", words.slice(0, 80), words.trim().length > 7, drawn > 3]);
}
for (const c of document.querySelectorAll(".cave-box canvas, figure canvas")) {
  const words = c.getAttribute("aria-label") || "";
  seen.push(["canvas", words.slice(0, 80), words.trim().length > 7, varies(c)]);
}
return seen;
"""

MOVES = """
const done = arguments[0], out = [];
const sleep = ms => new Promise(r => setTimeout(r, ms));
const face = b => b.textContent + b.innerHTML.length + [...b.querySelectorAll("canvas")].map(c => c.toDataURL()).join()
  + [...b.querySelectorAll("svg")].map(s => s.outerHTML).join();
(async () => {
  for (const b of document.querySelectorAll(".cave-box")) {
    const name = b.getAttribute("aria-label") || b.id;
    for (const r of b.querySelectorAll("input[type=range]")) {
      const was = face(b), old = r.value;
      r.value = Math.abs(+r.max - +old) > Math.abs(+old - +r.min) ? r.max : r.min;
      r.dispatchEvent(new Event("input", {bubbles: true})); r.dispatchEvent(new Event("change", {bubbles: true}));
      await sleep(60);
      out.push([name, "slider " + (r.name || r.getAttribute("aria-label") || ""), face(b) !== was]);
      r.value = old; r.dispatchEvent(new Event("input", {bubbles: true}));
      r.dispatchEvent(new Event("change", {bubbles: true}));
    }
    for (const k of b.querySelectorAll("button")) {
      const was = face(b); k.click(); await sleep(500); const mid = face(b);
      out.push([name, "button " + k.textContent, mid !== was]);
      if (k.hasAttribute("aria-pressed")) {
        k.click(); await sleep(80); const stopped = face(b); await sleep(250);
        out.push([name, "pause", face(b) === stopped]);
      }
    }
    for (const k of b.querySelectorAll("input[type=checkbox]")) {
      const was = face(b); k.click(); await sleep(60);
      out.push([name, "switch " + k.name, face(b) !== was]); k.click(); await sleep(60);
    }
    for (const k of b.querySelectorAll("select")) {
      if (k.closest("[hidden]")) continue;
      const was = face(b); k.selectedIndex = (k.selectedIndex + 1) % k.options.length;
      k.dispatchEvent(new Event("input", {bubbles: true})); k.dispatchEvent(new Event("change", {bubbles: true}));
      await sleep(60); out.push([name, "choice", face(b) !== was]);
    }
  }
  done(out);
})().catch(e => done([["script", String(e), false]]));
"""

# The contrast of text in figures against the page's own ground.
CONTRAST = """
const lum = c => { const v = c.match(/[\\d.]+/g).slice(0, 3).map(x => { x /= 255;
  return x <= 0.03928 ? x / 12.92 : Math.pow((x + 0.055) / 1.055, 2.4); });
  return 0.2126 * v[0] + 0.7152 * v[1] + 0.0722 * v[2]; };
const ground = e => { for (; e; e = e.parentElement) { const c = getComputedStyle(e).backgroundColor;
  if (!/rgba\\(.*, 0\\)|transparent/.test(c)) return c; } return "rgb(255, 255, 255)"; };
let least = 21;
for (const e of document.querySelectorAll("figure.cave, .cave-box, article p")) {
  const a = lum(getComputedStyle(e).color), b = lum(ground(e));
  least = Math.min(least, (Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05));
}
return least;
"""

WIDE = """
const w = window.innerWidth, bad = [];
const scrolls = e => { for (; e && e !== document.body; e = e.parentElement) {
  const o = getComputedStyle(e).overflowX; if (o === "auto" || o === "scroll" || o === "hidden") return true; } return false; };
for (const e of document.querySelectorAll("main *, article *")) {
  const r = e.getBoundingClientRect();
  if (r.width > 0 && r.height > 0 && r.right > w + 1.5 && getComputedStyle(e).visibility !== "hidden"
      && !e.closest("mjx-assistive-mml, .sr-only, .visually-hidden") && !scrolls(e.parentElement))
    bad.push(e.tagName + "." + e.getAttribute("class") + " " + Math.round(r.right));
}
return {page: document.documentElement.scrollWidth, w, bad: bad.slice(0, 8)};
"""

# What is folded: a summary's words are its name, and an answer is called one.
FOLDED = """
return [...document.querySelectorAll("details.hide")].map(d => {
  const s = d.querySelector("summary"), answer = d.closest(".tag_hide-cell") !== null;
  const words = [...s.querySelectorAll("p")].filter(p => getComputedStyle(p).display !== "none").map(p => p.textContent).join(" ");
  return [words, !s.hasAttribute("aria-label") && /^(Show|Hide) the /.test(words) && /answer$/.test(words) === answer]; });
"""

# What scrolls sideways, and whether the keyboard can reach it by name.
REACH = """
const out = [];
for (const e of document.querySelectorAll("article .cave-wide, article .pst-scrollable-table-container, article .sheet, article div.math, article div.highlight pre")) {
  if (e.scrollWidth <= e.clientWidth + 1 || e.clientWidth === 0) continue;
  const named = e.matches("pre") || (e.getAttribute("role") === "region" && (e.getAttribute("aria-label") || "").length > 5);
  out.push([e.tagName + "." + e.className, e.tabIndex === 0 && named]);
}
return out;
"""

# Displayed formulas against the text around them.
LETTERS = """
return [...document.querySelectorAll("article div.math mjx-container[display=true]")].map(m =>
  parseFloat(getComputedStyle(m).fontSize) / parseFloat(getComputedStyle(document.querySelector("article p")).fontSize));
"""

# Ink and ground of a page that is about to be printed.
PAPER = """
window.dispatchEvent(new Event("beforeprint"));
const p = document.querySelector("article p"), out = [getComputedStyle(p).color, getComputedStyle(document.body).backgroundColor];
const code = document.querySelector("article div.highlight");
if (code) out.push(getComputedStyle(code).color);
window.dispatchEvent(new Event("afterprint"));
out.push(document.documentElement.dataset.theme);
return out;
"""

THEME = """
document.documentElement.dataset.theme = arguments[0]; document.documentElement.dataset.mode = arguments[0];
"""


def logs(driver, home: str) -> tuple[list[str], list[str]]:
    """What went wrong on the console, and requests to other places, since the last call."""
    bad = [f"{e['level']} {e['message']}" for e in driver.get_log("browser")
           if e["level"] in ("SEVERE", "ERROR") and "favicon.ico" not in e["message"]
           and not e["message"].startswith("chrome")]
    away = []
    for entry in driver.get_log("performance"):
        message = json.loads(entry["message"])["message"]
        url = by = ""
        if message["method"] == "Network.requestWillBeSent":
            url = message["params"]["request"]["url"]
            by = message["params"].get("documentURL", "")
        elif message["method"] == "Network.webSocketCreated":
            url = message["params"]["url"]
        # Pages of the browser's own (chrome://new-tab-page, which newer ones load beforehand)
        # come into this log at times, with what they ask for. They are not of the book.
        if url and not by.startswith("chrome") and not url.startswith((home, "data:", "blob:", "about:", "chrome")):
            away.append(url)
    return bad, away


def shot(driver, path: Path, size: tuple[int, int]) -> None:
    """The whole page, as tall as it is, as far as chromium draws it."""
    tall = driver.execute_script("return document.documentElement.scrollHeight")
    narrow(driver, size[0], min(tall, 16000), size is PHONE)
    driver.execute_script("window.scrollTo(0, 0)")
    time.sleep(0.3)
    data = driver.execute_cdp_cmd("Page.captureScreenshot", {"format": "png"})
    path.write_bytes(base64.b64decode(data["data"]))
    narrow(driver, *size, size is PHONE)


def narrow(driver, width: int, height: int, mobile: bool) -> None:
    driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", {
        "width": width, "height": height, "deviceScaleFactor": 1, "mobile": mobile})


def fits(driver, page: str, width: int) -> None:
    wide = driver.execute_script(WIDE)
    check(wide["page"] <= wide["w"] + 1 and wide["w"] == width and not wide["bad"], page,
          f"nothing overflows {width} pixels", wide)


def check_print(driver, page: str) -> None:
    """Printed from dark mode, a page is dark on white, and dark again after."""
    driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {"media": "print"})
    ink, ground, *code, after = driver.execute_script(PAPER)
    driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {"media": ""})

    def light(color: str) -> float:
        return sum(float(x) for x in re.findall(r"[\d.]+", color)[:3]) / (3 * 255)

    check(light(ink) < 0.3 < 0.95 < light(ground) and all(light(x) < 0.5 for x in code)
          and after == "dark", page, "prints dark on white", (ink, ground, code, after))


def links(folder: Path, pages: list[str]) -> None:
    """Each link within the book leads to a file, and to an anchor in it where it names one."""
    parsed = {p: Page((folder / p).read_text()) for p in pages}
    for page, its in parsed.items():
        broken = []
        for link in dict.fromkeys(its.links):
            url = urlsplit(link)
            if url.scheme in ("http", "https", "mailto", "data", "javascript") or url.netloc:
                continue
            path, anchor = urldefrag(urljoin(page, link.split("?")[0]))
            path = unquote(path) or page
            target = folder / path
            if target.is_dir():
                path, target = path.rstrip("/") + "/index.html", target / "index.html"
            if not target.is_file():
                broken.append(f"{link}: no such file")
            elif anchor and path.endswith(".html"):
                if path not in parsed:
                    parsed_target = Page(target.read_text())
                else:
                    parsed_target = parsed[path]
                if unquote(anchor) not in parsed_target.ids:
                    broken.append(f"{link}: no such anchor")
        check(not broken, page, f"{len(its.links)} links resolve", broken)


def main(argv: list[str]) -> int:
    folder = Path(argv[0] if argv else "book/_build/html").resolve()
    shots = Path(argv[1]) if len(argv) > 1 else None
    pages = sorted(str(p.relative_to(folder)) for p in folder.rglob("*.html")
                   if not p.relative_to(folder).parts[0].startswith("_"))
    check(len(pages) > 5, str(folder), "holds the pages of a book", pages)
    pages = [p for p in pages if p not in ("search.html", "genindex.html")]
    if shots:
        shots.mkdir(parents=True, exist_ok=True)
    links(folder, pages)
    home, missing = serve(folder)
    moved = 0
    with tempfile.TemporaryDirectory() as profile:
        driver = browser(profile)
        try:
            narrow(driver, *DESK, False)
            for page in pages:
                driver.get(home + page)
                driver.execute_async_script(READY)
                text = driver.execute_script("return document.body.innerText.length")
                redirect = (folder / page).read_text().lower().count('http-equiv="refresh"')
                check(text > 200 or redirect, page, "has loaded", text)
                maths = driver.execute_script(MATHS)
                check(not maths["raw"] and not maths["errors"], page,
                      f"{maths['all']} formulas are typeset", (maths["raw"], maths["errors"]))
                if page != "13_the_file.html":  # which shows source, where TeX may stand
                    code_free = [x for x in maths["loose"]]
                    check(len(code_free) < 3, page, "no raw TeX in the text", code_free)
                pictures = driver.execute_script(PICTURES)
                check(all(p[2] for p in pictures), page, f"{len(pictures)} pictures have words",
                      [p for p in pictures if not p[2]])
                check(all(p[3] for p in pictures), page, "pictures are not blank",
                      [p for p in pictures if not p[3]])
                answers = driver.execute_async_script(MOVES)
                moved += len(answers)
                check(all(a[2] for a in answers), page, f"{len(answers)} controls answer",
                      [a for a in answers if not a[2]])
                folded = driver.execute_script(FOLDED)
                check(all(f[1] for f in folded), page, f"{len(folded)} folds say what they hold",
                      [f for f in folded if not f[1]])
                copies = driver.execute_script(
                    "return [document.querySelectorAll('.cave-needs').length, "
                    "document.querySelectorAll('script[src*=\"cave.js\"]').length]")
                check(redirect or copies == [0, 1], page, "loads cave.js once", copies)
                for theme in ("light", "dark"):
                    driver.execute_script(THEME, theme)
                    time.sleep(0.4)
                    contrast = driver.execute_script(CONTRAST)
                    check(contrast >= 4.5, page, f"text can be read when {theme}", contrast)
                    if shots:
                        shot(driver, shots / f"{page.replace('/', '_')[:-5]}_{theme}.png", DESK)
                time.sleep(0.2)
                fits(driver, page, DESK[0])
                if not redirect:
                    check_print(driver, page)
                bad, away = logs(driver, home)
                check(not bad, page, "no console error", bad)
                check(not away, page, "no request leaves the machine", away)
            check(moved > 0, "the book", "has parts that can be moved", moved)
            narrow(driver, *PHONE, True)
            for page in pages:
                driver.get(home + page)
                driver.execute_async_script(READY)
                driver.execute_script(PICTURES)  # which opens what is folded
                time.sleep(1.8)  # cave.js looks again at what MathJax has made wide
                fits(driver, page, PHONE[0])
                letters = driver.execute_script(LETTERS)
                check(all(x > 0.99 for x in letters), page, "formulas are as large as the text",
                      letters)
                scrolls = driver.execute_script(REACH)
                check(all(x[1] for x in scrolls), page,
                      f"the keyboard reaches {len(scrolls)} things that scroll",
                      [x for x in scrolls if not x[1]])
                if shots:
                    shot(driver, shots / f"{page.replace('/', '_')[:-5]}_phone.png", PHONE)
            narrow(driver, *DESK, False)
            driver.get(home + "search.html?q=log-sum-exp")
            found = []
            for _ in range(60):
                time.sleep(0.25)
                found = driver.execute_script("return [...document.querySelectorAll("
                                              "'#search-results li a')].map(a => a.href)")
                if found:
                    break
            check(found, "search.html", "search finds log-sum-exp")
            if found:
                told = []
                for address in found[:5]:
                    driver.get(address)
                    body = driver.execute_script("return document.body.innerText.toLowerCase()")
                    told.append(bool(re.search(r"log.?sum.?exp", body)))
                check(any(told), "search.html", "and a page among the first tells of it", found[:5])
            bad, away = logs(driver, home)
            check(not bad, "search.html", "no console error", bad)
            check(not away, "search.html", "no request leaves the machine", away)
        finally:
            driver.quit()
    missing = sorted({m for m in missing if "favicon" not in m})
    check(not missing, "the book", "each file that pages ask for is there", missing)
    print(f"{passed} passed, {len(failed)} failed")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
