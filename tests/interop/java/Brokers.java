// Judges the tokens of a file of cases with jose4j, as the brokers of Kafka do; prints a JSON line
// for each.

import java.nio.file.Files;
import java.nio.file.Path;
import java.util.List;
import java.util.Map;
import org.jose4j.json.JsonUtil;
import org.jose4j.jwa.AlgorithmConstraints.ConstraintType;
import org.jose4j.jwk.JsonWebKey;
import org.jose4j.jwk.JsonWebKeySet;
import org.jose4j.jwk.PublicJsonWebKey;
import org.jose4j.jwt.consumer.ErrorCodes;
import org.jose4j.jwt.consumer.InvalidJwtException;
import org.jose4j.jwt.consumer.JwtConsumer;
import org.jose4j.jwt.consumer.JwtConsumerBuilder;
import org.jose4j.keys.resolvers.JwksVerificationKeyResolver;
import org.jose4j.lang.InvalidAlgorithmException;
import org.jose4j.lang.UnresolvableKeyException;

class Brokers {
    public static void main(String[] arguments) throws Exception {
        var asked = JsonUtil.parseJson(Files.readString(Path.of(arguments[0])));
        var keys = new JsonWebKeySet(Files.readString(Path.of((String) asked.get("jwks"))));
        var builder = new JwtConsumerBuilder()
                .setExpectedIssuer((String) asked.get("issuer"))
                .setRequireSubject()
                .setRequireExpirationTime()
                .setRequireIssuedAt()
                .setRequireJwtId()
                .setVerificationKeyResolver(new JwksVerificationKeyResolver(keys.getJsonWebKeys()));
        if (asked.get("algorithms") instanceof List<?> algorithms) {
            var allowed = algorithms.toArray(String[]::new);
            builder.setJwsAlgorithmConstraints(ConstraintType.PERMIT, allowed);
        }
        var consumer = builder.build();

        var library = Library.of(JsonWebKey.class) + ", Java " + Runtime.version().feature();
        var isPrivate = keys.getJsonWebKeys().stream().filter(Brokers::isPrivate).count();
        var thumbprints = keys.getJsonWebKeys().stream()
                .map(key -> key.calculateBase64urlEncodedThumbprint("SHA-256")).toList();
        say(Map.of("library", library, "private", isPrivate, "thumbprints", thumbprints));
        for (var it : (List<?>) asked.get("cases")) {
            var name = (String) ((Map<?, ?>) it).get("name");
            var verdict = verdict(consumer, (String) ((Map<?, ?>) it).get("token"));
            say(Map.of("case", name, "verdict", verdict));
        }
    }

    static String verdict(JwtConsumer consumer, String token) {
        try {
            consumer.processToClaims(token);
            return "accepted";
        } catch (InvalidJwtException error) {
            if (error.hasErrorCode(ErrorCodes.SIGNATURE_INVALID)) {
                return "forged";
            }
            if (error.getCause() instanceof InvalidAlgorithmException) {
                return "excluded";
            }
            return error.getCause() instanceof UnresolvableKeyException ? "unknown" : error.toString();
        }
    }

    static boolean isPrivate(JsonWebKey key) {
        return ((PublicJsonWebKey) key).getPrivateKey() != null;
    }

    static void say(Map<String, ?> line) {
        System.out.println(JsonUtil.toJson(line));
    }
}
