import io.socket.client.IO;
import io.socket.client.Socket;
import io.socket.engineio.client.transports.WebSocket;
import java.io.IOException;
import java.io.UncheckedIOException;
import java.net.URI;
import java.nio.file.Files;
import java.nio.file.Path;
import java.nio.file.StandardCopyOption;
import java.util.Map;
import java.util.Timer;
import java.util.TimerTask;
import java.util.concurrent.ConcurrentHashMap;
import org.json.JSONObject;

/**
 * Prints every event, and goes on where it stopped when it is started again.
 *
 * <pre>mvn -q compile exec:java -Dexec.args="[address] [file for the position]"</pre>
 */
public final class Subscribe {
    private static final long PAUSE_MS = 1000;
    private static final long CONNECT_LIMIT_MS = 10_000;
    private static final Timer TIMER = new Timer();
    private static boolean reachable = true;

    public static void main(String[] args) throws IOException {
        String address = args.length > 0 ? args[0] : "http://127.0.0.1:5403";
        Path file = Path.of(args.length > 1 ? args[1] : "position.txt");

        // The client reads this map at each connection, and so tells where we are
        // then. "since" is behind the last event that was dealt with; "": from now on.
        Map<String, String> auth = new ConcurrentHashMap<>();
        auth.put("since", Files.exists(file) ? Files.readString(file) : "");
        if (System.getenv("API_KEY") != null) {
            auth.put("apiKey", System.getenv("API_KEY"));
        }

        IO.Options options = IO.Options.builder()
                .setPath("/events/")
                .setTransports(new String[] {WebSocket.NAME})
                .setAuth(auth)
                .setTimeout(CONNECT_LIMIT_MS)
                .build();
        Socket socket = IO.socket(URI.create(address + "/pricings"), options);

        socket.on(Socket.EVENT_CONNECT, arguments -> {
            reachable = true;
            System.err.println("connected");
        });

        socket.on("message", arguments -> {
            System.out.println(arguments[0]);
            // Kept when the event was dealt with: after a crash it may come again,
            // but it is never left out.
            String position = ((JSONObject) arguments[1]).optString("position");
            auth.put("since", position);
            keep(file, position);
        });

        // Where we are without an event: first right after connecting.
        socket.on("position", arguments -> {
            String position = (String) arguments[0];
            auth.put("since", position);
            keep(file, position);
        });

        socket.on(Socket.EVENT_CONNECT_ERROR, arguments -> {
            // An exception: the server is not there, and the client tries again by
            // itself; said once. JSON: the server refused, and the client does not.
            if (!(arguments[0] instanceof JSONObject refusal)) {
                if (reachable) {
                    System.err.println("cannot reach " + address + ": " + arguments[0] + "; trying again");
                }
                reachable = false;
                return;
            }
            String message = refusal.optString("message");
            System.err.println(message);
            if (message.startsWith("UNAUTHORIZED")) {
                System.exit(1);
            }
            if (message.startsWith("POSITION_")) {
                // Expired, of another database, or of one that went back. Events may be
                // lost: whoever keeps a state reads it anew now. Here, on from now.
                auth.put("since", "");
            }
            connectLater(socket);
        });

        socket.on(Socket.EVENT_DISCONNECT, arguments -> {
            System.err.println("disconnected: " + arguments[0]);
            // Sent away by the server itself: here too the client would stay away.
            if ("io server disconnect".equals(arguments[0])) {
                connectLater(socket);
            }
        });

        socket.connect();
    }

    private static void connectLater(Socket socket) {
        socket.disconnect();
        TIMER.schedule(new TimerTask() {
            @Override
            public void run() {
                socket.connect();
            }
        }, PAUSE_MS);
    }

    /** As a whole or not at all, whenever this program ends. */
    private static void keep(Path file, String position) {
        try {
            Path whole = file.resolveSibling(file.getFileName() + ".new");
            Files.writeString(whole, position);
            Files.move(whole, file, StandardCopyOption.ATOMIC_MOVE, StandardCopyOption.REPLACE_EXISTING);
        } catch (IOException error) {
            throw new UncheckedIOException(error);
        }
    }
}
