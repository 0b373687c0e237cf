// The course's own part of the service worker: what was loaded once is there without a network, too.
// It asks the network first, so that a newer site is seen at once.
const KEPT = "mlinfra";
const OURS = new URL("./", self.location).href;

function isKept(request) {
  const path = request.url.slice(OURS.length);
  return request.method == "GET" && request.url.startsWith(OURS) && !/^api\/(drive|stdin|service-worker)/.test(path);
}

async function answer(request) {
  const cache = await caches.open(KEPT);
  try {
    const fresh = await fetch(request);
    if (fresh.ok) await cache.put(request.url, fresh.clone());
    return fresh;
  } catch (gone) {
    const found = await cache.match(request.url, { ignoreSearch: request.mode == "navigate" });
    if (found) return found;
    throw gone;
  }
}

self.addEventListener("fetch", event => {
  if (!isKept(event.request)) return;
  event.stopImmediatePropagation();
  event.respondWith(answer(event.request));
});

