// A certified OpenID provider (the package oidc-provider) with three accounts, whose passwords are whatever one types.
import Provider from "oidc-provider";

const [port, console_] = process.argv.slice(2);
const groups = { ada: ["moderators"], lou: ["leads"], out: ["everybody"] };
const provider = new Provider(`http://127.0.0.1:${port}`, {
  clients: [
    {
      client_id: "unmask",
      client_secret: "s3cret",
      redirect_uris: [`${console_}/oidc/callback`],
      post_logout_redirect_uris: [`${console_}/sign-in`],
      backchannel_logout_uri: `${console_}/oidc/back-channel-logout`,
      backchannel_logout_session_required: true,
    },
  ],
  claims: { openid: ["sub"], profile: ["preferred_username", "groups"] },
  features: {
    devInteractions: { enabled: true },
    backchannelLogout: { enabled: true },
    rpInitiatedLogout: { enabled: true },
  },
  // Its own guard refuses requests to this machine, where the console of the test is.
  fetch: (url, { dispatcher, ...options }) => globalThis.fetch(url, options),
  pkce: { required: () => true },
  findAccount: (_, id) => ({
    accountId: id,
    claims: () => ({ sub: `subject-of-${id}`, preferred_username: id, groups: groups[id] ?? [] }),
  }),
});
provider.listen(Number(port), "127.0.0.1", () => console.log("ready"));
