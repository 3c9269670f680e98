(function () {
  "use strict";
  var source = new URL(document.currentScript.src);
  var address = new URL("notice/" + source.searchParams.get("run"), source);
  var minutes = 5; // before the end, from which the notice is shown
  var host = null, timer = null, over = false; // over: dismissed, or the run is gone

  function inner() { // a frame of a page of the same content: that page tells
    try {
      var content = /^.*?\/content\/[0-9a-f-]{36}\//.exec(location.pathname);
      return parent !== self && content && parent.location.pathname.startsWith(content[0]);
    } catch (error) { return false; } // of another site
  }
  function remove() { if (host) { host.remove(); host = null; } }
  function stop() { over = true; clearInterval(timer); remove(); }
  function build() {
    host = document.createElement("supervisor-notice");
    var root = host.attachShadow({mode: "open"});
    var style = new CSSStyleSheet(); // which no policy of the app forbids
    // Lengths in px: the app decides what a rem is.
    style.replaceSync(":host { all: initial; } div { position: fixed; z-index: 2147483647; right: 16px;" +
      " bottom: 16px; left: 16px; max-width: 480px; margin: 0 0 0 auto; padding: 16px 20px; color: #fff;" +
      " background: #1f2933; border: 1px solid #9aa5b1; border-radius: 12px; box-shadow: 0 8px 24px #0006;" +
      " font: 16px/1.5 system-ui, sans-serif; } p { margin: 0 0 12px; } button { font: inherit; color: #fff;" +
      " margin: 0 12px 0 0; padding: 6.4px 14.4px; border: 1px solid #cbd2d9; border-radius: 8px;" +
      " background: transparent; cursor: pointer; } .go { color: #102a43; background: #fff; font-weight: 600; }" +
      " button:focus-visible { outline: 3px solid #8ab6ff; outline-offset: 2px; }");
    root.adoptedStyleSheets = [style];
    root.innerHTML = '<div><p role="status"></p><button class="go">Reload now</button>' +
      "<button>Dismiss</button></div>";
    var buttons = root.querySelectorAll("button");
    buttons[0].onclick = function () { location.reload(); };
    buttons[1].onclick = stop;
    document.body.append(host);
    return root;
  }
  function show(seconds) {
    var left = Math.ceil(seconds / 60);
    var when = seconds < 60 ? "less than a minute" : left === 1 ? "1 minute" : left + " minutes";
    var status = (host ? host.shadowRoot : build()).querySelector("p");
    var text = "This app was updated. This session ends in " + when +
      "; reload to go on with the new version.";
    if (status.textContent !== text) { status.textContent = text; }
  }
  function ask() {
    fetch(address, {cache: "no-store", credentials: "omit"}).then(function (answer) {
      return answer.json();
    }).then(function (news) {
      if (over || news.gone) { stop(); return; }
      var near = news.draining && news.ends !== null && news.ends <= minutes * 60;
      if (near) { show(news.ends); } else { remove(); }
    }).catch(function () {}); // asked again soon
  }
  if (inner()) { return; }
  timer = setInterval(ask, 30000);
  document.addEventListener("visibilitychange", function () {
    if (!document.hidden && !over) { ask(); }
  });
  ask();
})();
