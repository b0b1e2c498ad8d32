// A real OpenID Connect provider (npm oidc-provider) with its own development login page.
// Arguments: port, redirect URI. Any password is right; `groups` of an account come from its name: "ann+staff" is in "staff".
import Provider from 'oidc-provider';

const [port, redirectURI] = process.argv.slice(2);
const issuer = `http://127.0.0.1:${port}`;

const provider = new Provider(issuer, {
  clients: [{
    client_id: 'hub',
    client_secret: 'hub-secret-of-the-tests',
    redirect_uris: [redirectURI],
    grant_types: ['authorization_code', 'refresh_token'],
  }],
  claims: {
    openid: ['sub'],
    profile: ['preferred_username', 'groups', 'name'],
    email: ['email'],
  },
  conformIdTokenClaims: false,
  pkce: { required: () => true },
  cookies: { keys: ['not a secret'] },
  issueRefreshToken: async () => true,
  async findAccount(ctx, id) {
    const [name, ...groups] = id.split('+');
    return {
      accountId: id,
      async claims() {
        return { sub: id, preferred_username: name, name: `${name} of the provider`, email: `${name}@example.org`, groups };
      },
    };
  },
});

provider.on('server_error', (ctx, error) => console.error(error));
provider.listen(Number(port), '127.0.0.1', () => console.log('listening'));
