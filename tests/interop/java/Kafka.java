// Does what a client and a broker of Kafka do with a recipe: reads its properties, gets a token, has
// it validated, and others that must not be; prints a line of JSON.

import com.nimbusds.jose.util.JSONObjectUtils;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;
import java.util.Map;
import java.util.Properties;
import javax.security.auth.callback.Callback;
import javax.security.auth.login.AppConfigurationEntry;
import org.apache.kafka.common.config.ConfigDef;
import org.apache.kafka.common.config.SaslConfigs;
import org.apache.kafka.common.security.JaasContext;
import org.apache.kafka.common.security.auth.AuthenticateCallbackHandler;
import org.apache.kafka.common.security.oauthbearer.OAuthBearerTokenCallback;
import org.apache.kafka.common.security.oauthbearer.OAuthBearerValidatorCallback;

class Kafka {
    private static final String LISTENER = "listener.name.sasl_ssl.oauthbearer.";
    private static final String MECHANISM = "OAUTHBEARER";

    private final Properties recipe = new Properties();
    private final AuthenticateCallbackHandler broker;

    Kafka(String file) throws Exception {
        try (var reader = Files.newBufferedReader(Path.of(file))) {
            recipe.load(reader);
        }
        // Brokers know these by the name of their listener.
        var own = new Properties();
        own.putAll(recipe);
        own.put(SaslConfigs.SASL_JAAS_CONFIG, recipe.get(LISTENER + SaslConfigs.SASL_JAAS_CONFIG));
        broker = handler(LISTENER + "sasl.server.callback.handler.class", own);
    }

    public static void main(String[] arguments) throws Exception {
        var kafka = new Kafka(arguments[0]);
        var token = kafka.token();
        var others = new ArrayList<String>();
        others.add(kafka.validated(token.substring(0, token.length() - 8) + "AAAAAAAA"));
        for (var other : List.of(arguments).subList(1, arguments.length)) {
            others.add(kafka.validated(other));
        }
        var library = Library.of(ConfigDef.class);
        var said = Map.of("library", library, "own", kafka.validated(token), "others", others);
        System.out.println(JSONObjectUtils.toJSONString(said));
        // The threads that fetch the JWKS anew would go on.
        System.exit(0);
    }

    String token() throws Exception {
        var client = handler(SaslConfigs.SASL_LOGIN_CALLBACK_HANDLER_CLASS, recipe);
        var callback = new OAuthBearerTokenCallback();
        client.handle(new Callback[] {callback});
        return callback.token().value();
    }

    // The principal, or that there is none.
    String validated(String token) throws Exception {
        var callback = new OAuthBearerValidatorCallback(token);
        broker.handle(new Callback[] {callback});
        return callback.token() == null ? "refused" : callback.token().principalName();
    }

    AuthenticateCallbackHandler handler(String property, Properties properties) throws Exception {
        var name = properties.getProperty(property).trim();
        var made = Class.forName(name).getDeclaredConstructor().newInstance();
        var handler = (AuthenticateCallbackHandler) made;
        var definition = new ConfigDef();
        SaslConfigs.addClientSaslSupport(definition);
        Map<String, ?> configs = definition.parse(properties);
        List<AppConfigurationEntry> jaas =
                JaasContext.loadClientContext(configs).configurationEntries();
        handler.configure(configs, MECHANISM, jaas);
        return handler;
    }
}
