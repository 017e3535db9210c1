// The page's entry: finds where the service is, takes the key out of the address bar, and starts the page.

import "./style/page.css";
import { Api, baseOfPath } from "./core/api.js";
import { Page } from "./view/page.js";

const KEY = "podflare.key";

const api = new Api(baseOfPath(location.pathname), () => document.cookie, sessionStorage.getItem(KEY));

// The service has put the login cookie by now; a key in the address would end up in history and screenshots.
const address = new URL(location.href);
if (address.searchParams.has("token")) {
  address.searchParams.delete("token");
  history.replaceState(null, "", address);
}

const page = new Page(api, (key) => sessionStorage.setItem(KEY, key));
document.body.append(page.element);
void page.start();
