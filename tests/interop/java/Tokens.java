// Gets tokens with the Nimbus OAuth SDK and verifies them with Nimbus JOSE+JWT: answers each line of
// JSON with one.

import com.nimbusds.jose.JWSAlgorithm;
import com.nimbusds.jose.jwk.source.JWKSource;
import com.nimbusds.jose.jwk.source.JWKSourceBuilder;
import com.nimbusds.jose.proc.BadJOSEException;
import com.nimbusds.jose.proc.BadJWSException;
import com.nimbusds.jose.proc.JWSVerificationKeySelector;
import com.nimbusds.jose.proc.SecurityContext;
import com.nimbusds.jose.util.JSONObjectUtils;
import com.nimbusds.jwt.JWTClaimsSet;
import com.nimbusds.jwt.proc.BadJWTException;
import com.nimbusds.jwt.proc.DefaultJWTClaimsVerifier;
import com.nimbusds.jwt.proc.DefaultJWTProcessor;
import com.nimbusds.jwt.proc.ExpiredJWTException;
import com.nimbusds.oauth2.sdk.ClientCredentialsGrant;
import com.nimbusds.oauth2.sdk.Scope;
import com.nimbusds.oauth2.sdk.TokenRequest;
import com.nimbusds.oauth2.sdk.TokenResponse;
import com.nimbusds.oauth2.sdk.auth.ClientSecretBasic;
import com.nimbusds.oauth2.sdk.auth.ClientSecretPost;
import com.nimbusds.oauth2.sdk.auth.Secret;
import com.nimbusds.oauth2.sdk.id.ClientID;
import com.nimbusds.oauth2.sdk.id.Issuer;
import com.nimbusds.openid.connect.sdk.op.OIDCProviderMetadata;
import java.io.BufferedReader;
import java.io.InputStreamReader;
import java.util.HashSet;
import java.util.List;
import java.util.Map;
import java.util.Set;

class Tokens {
    private static final Set<String> REQUIRED = Set.of("sub", "exp", "iat", "jti");

    private final OIDCProviderMetadata server;
    private final JWKSource<SecurityContext> keys;

    Tokens(String issuer) throws Exception {
        server = OIDCProviderMetadata.resolve(new Issuer(issuer));
        // A key that signs sooner than 30 s after it was published is not in the copy of Nimbus,
        // which fetches no other one meanwhile.
        var jwks = server.getJWKSetURI().toURL();
        keys = JWKSourceBuilder.<SecurityContext>create(jwks).rateLimited(false).build();
    }

    public static void main(String[] arguments) throws Exception {
        var tokens = new Tokens(arguments[0]);
        var library = "Nimbus OAuth SDK " + version(TokenRequest.class)
                + " and JOSE+JWT " + version(JWTClaimsSet.class);
        // Nimbus verifies Ed25519, but not by way of its own processor of JWTs.
        say(Map.of("library", library, "lacks", List.of("EdDSA")));
        var lines = new BufferedReader(new InputStreamReader(System.in));
        for (var line = lines.readLine(); line != null; line = lines.readLine()) {
            var asked = JSONObjectUtils.parse(line);
            try {
                say(asked.get("ask").equals("token") ? tokens.token(asked) : tokens.verify(asked));
            } catch (Exception error) {
                say(Map.of("failed", error.toString()));
            }
        }
    }

    Map<String, ?> token(Map<String, Object> asked) throws Exception {
        var id = new ClientID((String) asked.get("client_id"));
        var secret = new Secret((String) asked.get("client_secret"));
        // There is no default: the method is chosen by a class.
        var client = "client_secret_post".equals(asked.get("method"))
                ? new ClientSecretPost(id, secret)
                : new ClientSecretBasic(id, secret);
        var grant = new ClientCredentialsGrant();
        var request = new TokenRequest.Builder(server.getTokenEndpointURI(), client, grant);
        if (asked.get("scope") != null) {
            request.scope(Scope.parse((String) asked.get("scope")));
        }
        if (asked.get("audience") != null) {
            request.customParameter("audience", (String) asked.get("audience"));
        }
        var response = TokenResponse.parse(request.build().toHTTPRequest().send());
        if (!response.indicatesSuccess()) {
            return Map.of("error", response.toErrorResponse().getErrorObject().getCode());
        }
        return Map.of("token", response.toSuccessResponse().getTokens().getAccessToken().getValue());
    }

    Map<String, ?> verify(Map<String, Object> asked) throws Exception {
        var issued = new JWTClaimsSet.Builder().issuer(server.getIssuer().getValue()).build();
        var audience = (String) asked.get("audience");
        var processor = new DefaultJWTProcessor<SecurityContext>();
        var algorithms = new HashSet<JWSAlgorithm>(server.getIDTokenJWSAlgs());
        processor.setJWSKeySelector(new JWSVerificationKeySelector<>(algorithms, keys));
        processor.setJWTClaimsSetVerifier(
                new DefaultJWTClaimsVerifier<>(audience, issued, REQUIRED));
        try {
            var claims = processor.process((String) asked.get("token"), null);
            return Map.of("claims", claims.toJSONObject());
        } catch (ExpiredJWTException error) {
            return Map.of("refused", "expired");
        } catch (BadJWSException error) {
            return Map.of("refused", "forged");
        } catch (BadJWTException error) {
            return Map.of("refused", claim(error.getMessage()));
        } catch (BadJOSEException error) {
            var isUnknown = error.getMessage().contains("no matching key(s) found");
            return Map.of("refused", isUnknown ? "unknown" : error.toString());
        }
    }

    static String claim(String message) {
        if (message.startsWith("JWT iss claim")) {
            return "issuer";
        }
        return message.startsWith("JWT aud claim") ? "audience" : message;
    }

    static String version(Class<?> of) {
        return of.getPackage().getImplementationVersion();
    }

    static void say(Map<String, ?> line) {
        System.out.println(JSONObjectUtils.toJSONString(line));
    }
}
