(function () {
  "use strict";
  var place = document.querySelector("[data-wait]");
  var title = document.title;
  function load() {
    // A URL with a fragment would only scroll; reloading keeps it and asks the server.
    if (location.hash) { location.reload(); } else { location.replace(location.href); }
  }
  function show(news) {
    var before = news.position - 1;
    var queued = news.state === "queued";
    var state = before < 1 ? "next" : before === 1 ? "one" : "many";
    state = queued ? "queued " + state : "starting";
    document.title = queued ? "(" + news.position + ") " + title : title;
    place.querySelectorAll("[data-before]").forEach(function (one) { one.textContent = before; });
    if (place.dataset.state !== state) { place.dataset.state = state; }
  }
  function ask() {
    var asked = Date.now();
    var options = {cache: "no-store", credentials: "same-origin"};
    // An answer takes 20 s at most; what takes longer is a connection that broke in silence.
    if (AbortSignal.timeout) { options.signal = AbortSignal.timeout(30000); }
    fetch(place.dataset.wait, options).then(function (answer) {
      if ([204, 404, 409].indexOf(answer.status) >= 0) { load(); return; }
      if (answer.status !== 200) { throw answer; }
      return answer.json().then(function (news) {
        show(news);
        setTimeout(ask, Math.max(0, asked + 200 - Date.now()));
      });
    }).catch(function () { setTimeout(ask, 2000); });
  }
  if (place) { ask(); }
})();
