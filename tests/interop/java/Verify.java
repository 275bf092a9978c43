// Judges the tokens of a file of cases with Nimbus JOSE+JWT; prints a JSON line for each.

import com.nimbusds.jose.JOSEException;
import com.nimbusds.jose.JWSAlgorithm;
import com.nimbusds.jose.JWSVerifier;
import com.nimbusds.jose.crypto.Ed25519Verifier;
import com.nimbusds.jose.crypto.factories.DefaultJWSVerifierFactory;
import com.nimbusds.jose.jwk.JWK;
import com.nimbusds.jose.jwk.JWKSet;
import com.nimbusds.jose.jwk.OctetKeyPair;
import com.nimbusds.jose.jwk.source.ImmutableJWKSet;
import com.nimbusds.jose.proc.JWSVerificationKeySelector;
import com.nimbusds.jose.proc.SecurityContext;
import com.nimbusds.jose.util.JSONObjectUtils;
import com.nimbusds.jwt.JWTClaimsSet;
import com.nimbusds.jwt.SignedJWT;
import com.nimbusds.jwt.proc.DefaultJWTClaimsVerifier;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;
import java.util.Map;
import java.util.Set;
import java.util.stream.Collectors;

class Verify {
    public static void main(String[] arguments) throws Exception {
        var asked = JSONObjectUtils.parse(Files.readString(Path.of(arguments[0])));
        var keys = JWKSet.parse(Files.readString(Path.of((String) asked.get("jwks"))));
        var issued = new JWTClaimsSet.Builder().issuer((String) asked.get("issuer")).build();
        var claims = new DefaultJWTClaimsVerifier<>(issued, Set.of("sub", "exp", "iat", "jti"));

        var version = JWKSet.class.getPackage().getImplementationVersion();
        var library = "Nimbus " + version + ", Java " + Runtime.version().feature();
        var isPrivate = keys.getKeys().stream().filter(JWK::isPrivate).count();
        var thumbprints = new ArrayList<String>();
        for (var key : keys.getKeys()) {
            thumbprints.add(key.computeThumbprint().toString());
        }
        var selector = selector(keys, JSONObjectUtils.getStringList(asked, "algorithms"));
        say(Map.of("library", library, "private", isPrivate, "thumbprints", thumbprints));
        for (var it : JSONObjectUtils.getJSONObjectArray(asked, "cases")) {
            var verdict = verdict(keys, selector, claims, (String) it.get("token"));
            say(Map.of("case", (String) it.get("name"), "verdict", verdict));
        }
    }

    static JWSVerificationKeySelector<SecurityContext> selector(JWKSet keys, List<String> names) {
        var allowed = names == null ? JWSAlgorithm.Family.SIGNATURE : names.stream()
                .map(JWSAlgorithm::parse).collect(Collectors.toSet());
        return new JWSVerificationKeySelector<>(allowed, new ImmutableJWKSet<>(keys));
    }

    static String verdict(
            JWKSet keys,
            JWSVerificationKeySelector<SecurityContext> selector,
            DefaultJWTClaimsVerifier<?> claims,
            String token) {
        try {
            var jwt = SignedJWT.parse(token);
            var key = keys.getKeyByKeyId(jwt.getHeader().getKeyID());
            if (!selector.isAllowed(jwt.getHeader().getAlgorithm())) {
                return "excluded";
            }
            if (key == null) {
                return "unknown";
            }
            if (!jwt.verify(verifier(jwt, key, selector))) {
                return "forged";
            }
            claims.verify(jwt.getJWTClaimsSet(), null);
            return "accepted";
        } catch (Exception error) {
            return error.toString();
        }
    }

    // The factory of Nimbus knows no Ed25519.
    static JWSVerifier verifier(
            SignedJWT jwt, JWK key, JWSVerificationKeySelector<SecurityContext> selector)
            throws JOSEException {
        if (key instanceof OctetKeyPair pair) {
            return new Ed25519Verifier(pair);
        }
        var material = selector.selectJWSKeys(jwt.getHeader(), null).get(0);
        return new DefaultJWSVerifierFactory().createJWSVerifier(jwt.getHeader(), material);
    }

    static void say(Map<String, ?> line) {
        System.out.println(JSONObjectUtils.toJSONString(line));
    }
}
