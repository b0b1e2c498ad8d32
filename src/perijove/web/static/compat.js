// For markup that was written for JupyterHub's pages (options forms, custom templates, pages of
// authenticators): the globals that those pages have. Loaded only where there is such markup.
(() => {
  "use strict";
  const { baseUrl, prefix, user, xsrf } = document.currentScript.dataset;
  window.jhdata = { base_url: baseUrl, prefix, user, xsrf_token: xsrf, admin_access: false, options_form: true };

  const modules = { jquery: window.jQuery, bootstrap: window.bootstrap };
  window.require = window.requirejs = (names, then) => {
    const unknown = names.filter((name) => !(name in modules));
    if (unknown.length) console.error(`This hub has no script module ${unknown.join(", ")}.`);
    else then?.(...names.map((name) => modules[name]));
  };
  window.require.config = () => {};
})();
