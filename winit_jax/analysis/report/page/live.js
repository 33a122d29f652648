// A page that is served looks whether its run has gone on, and then loads anew; what is looked at stands in the address.
"use strict";

const stamp = document.documentElement.dataset.stamp;
setInterval(async () => {
  const answer = await fetch(`${location.pathname}/stamp`).catch(() => null);
  if (answer?.ok && (await answer.text()) !== stamp) location.reload();
}, 5000);
