"use strict";(()=>{document.documentElement.dataset.theme=localStorage.getItem("podflare.theme")??"auto";})();
