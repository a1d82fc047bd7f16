// Fetches by JavaMail; see ../scripted.py for what is expected of it.
import com.sun.mail.pop3.POP3Folder;
import java.io.BufferedOutputStream;
import java.io.OutputStream;
import java.nio.file.Files;
import java.nio.file.Path;
import java.nio.file.StandardOpenOption;
import java.security.KeyStore;
import java.security.cert.CertificateFactory;
import java.util.HashSet;
import java.util.Map;
import java.util.Properties;
import java.util.Set;
import javax.mail.Flags;
import javax.mail.Folder;
import javax.mail.Message;
import javax.mail.Session;
import javax.mail.Store;
import javax.net.ssl.SSLContext;
import javax.net.ssl.TrustManagerFactory;

class Fetch {
    public static void main(String[] arguments) throws Exception {
        Map<String, String> env = System.getenv();
        boolean implicit = env.get("POP_WAY").equals("implicit");
        String protocol = implicit ? "pop3s" : "pop3";
        String prefix = "mail." + protocol + ".";
        Properties settings = new Properties();
        settings.put(prefix + "host", "localhost");
        settings.put(prefix + "port", env.get("POP_PORT"));
        settings.put(prefix + "timeout", "60000");
        settings.put(prefix + "ssl.socketFactory", trusting(env.get("POP_CA")));
        settings.put(prefix + "ssl.checkserveridentity", "true");
        settings.put(prefix + "starttls.required", "" + env.get("POP_WAY").equals("starttls"));
        settings.put(prefix + "starttls.enable", "" + env.get("POP_WAY").equals("starttls"));
        String login = env.get("POP_LOGIN");
        if (login.equals("APOP")) {
            settings.put(prefix + "apop.enable", "true");
        } else if (!login.isEmpty()) {
            settings.put(prefix + "auth.mechanisms", login);
        }
        Store store = Session.getInstance(settings).getStore(protocol);
        store.connect(env.get("POP_NAME"), env.get("POP_PASSWORD"));
        POP3Folder folder = (POP3Folder) store.getFolder("INBOX");
        folder.open(Folder.READ_WRITE);
        Path state = Path.of("seen");
        Set<String> seen = new HashSet<>(Files.exists(state) ? Files.readAllLines(state) : Set.of());
        for (Message message : folder.getMessages()) {
            String id = folder.getUID(message);
            if (seen.contains(id)) {
                continue;
            }
            Path path = Path.of(String.format("out/%06d", message.getMessageNumber()));
            try (OutputStream out = new BufferedOutputStream(Files.newOutputStream(path))) {
                message.writeTo(out);
            }
            Files.writeString(state, id + "\n", StandardOpenOption.CREATE, StandardOpenOption.APPEND);
            message.setFlag(Flags.Flag.DELETED, env.get("POP_KEEP").isEmpty());
        }
        folder.close(true);
        store.close();
    }

    static javax.net.ssl.SSLSocketFactory trusting(String file) throws Exception {
        KeyStore trusted = KeyStore.getInstance(KeyStore.getDefaultType());
        trusted.load(null);
        try (var in = Files.newInputStream(Path.of(file))) {
            var certificate = CertificateFactory.getInstance("X.509").generateCertificate(in);
            trusted.setCertificateEntry("tests", certificate);
        }
        var trust = TrustManagerFactory.getInstance(TrustManagerFactory.getDefaultAlgorithm());
        trust.init(trusted);
        SSLContext context = SSLContext.getInstance("TLS");
        context.init(null, trust.getTrustManagers(), null);
        return context.getSocketFactory();
    }
}
