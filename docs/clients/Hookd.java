// SPDX-License-Identifier: LGPL-2.1-or-later
// An example client for backup servers in Java 17 without dependencies; README.md describes its arguments.

import java.io.ByteArrayOutputStream;
import java.io.EOFException;
import java.io.IOException;
import java.net.StandardProtocolFamily;
import java.net.UnixDomainSocketAddress;
import java.nio.ByteBuffer;
import java.nio.channels.SocketChannel;
import java.nio.charset.StandardCharsets;
import java.nio.file.Path;
import java.util.UUID;
import java.util.regex.Matcher;
import java.util.regex.Pattern;

public class Hookd {
    /** hookd refused the call. The message has the name and the parameters of the error as JSON. */
    public static class Refused extends IOException {
        Refused(String message) { super(message); }
    }

    // A quote inside a JSON string is preceded by a backslash, so these do not match inside values.
    private static final Pattern ERROR = Pattern.compile("\"error\":\\s*\"");
    private static final Pattern JOB_ID = Pattern.compile("\"job_id\":\\s*(\\d+)");
    private static final Pattern REFUSED = Pattern.compile("\"allowed\":\\s*false");
    private static final int TRIES = 3;

    private final UnixDomainSocketAddress address;

    public Hookd(Path socket) {
        address = UnixDomainSocketAddress.of(socket);
    }

    /** Reports the start of a job; returns its ID, or -1 if a gate hook refuses it. */
    public long startJob(String profile, String user, String clientIp, String clientBuildNo)
            throws IOException {
        String answer = call("io.hookd.Jobs.StartJob",
            "\"profile\":" + quoted(profile) + ",\"user\":" + quoted(user)
            + ",\"client_ip\":" + quoted(clientIp)
            + ",\"client_build_no\":" + quoted(clientBuildNo));
        Matcher id = JOB_ID.matcher(answer);
        if (!id.find()) throw new IOException("not an answer: " + answer);
        return REFUSED.matcher(answer).find() ? -1 : Long.parseLong(id.group(1));
    }

    /** Reports the end of a job. */
    public void endJob(long jobId, long fileCount, long byteCount, String outcome)
            throws IOException {
        call("io.hookd.Jobs.EndJob", "\"job_id\":" + jobId + ",\"file_count\":" + fileCount
            + ",\"byte_count\":" + byteCount + ",\"outcome\":" + quoted(outcome));
    }

    /** Sends a request, and sends it again with the same request_id if the connection was lost. */
    private String call(String method, String parameters) throws IOException {
        String request = "{\"method\":" + quoted(method) + ",\"parameters\":{" + parameters
            + ",\"request_id\":" + quoted(UUID.randomUUID().toString()) + "}}\0";
        for (int tried = 1; ; tried++) {
            try {
                String answer = exchange(request);
                if (ERROR.matcher(answer).find()) throw new Refused(answer);
                return answer;
            } catch (Refused refused) {
                throw refused;
            } catch (IOException lost) {
                if (tried == TRIES) throw lost;
            }
        }
    }

    private String exchange(String request) throws IOException {
        try (SocketChannel channel = SocketChannel.open(StandardProtocolFamily.UNIX)) {
            channel.connect(address);
            ByteBuffer out = ByteBuffer.wrap(request.getBytes(StandardCharsets.UTF_8));
            while (out.hasRemaining()) channel.write(out);
            ByteArrayOutputStream received = new ByteArrayOutputStream();
            ByteBuffer in = ByteBuffer.allocate(8192);
            while (channel.read(in) >= 0) {
                received.write(in.array(), 0, in.position());
                if (in.array()[in.position() - 1] == 0)
                    return received.toString(StandardCharsets.UTF_8);
                in.clear();
            }
            throw new EOFException("hookd closed the connection before it answered");
        }
    }

    private static String quoted(String text) {
        StringBuilder json = new StringBuilder("\"");
        for (char c : text.toCharArray()) {
            if (c == '"' || c == '\\') json.append('\\').append(c);
            else if (c < ' ') json.append(String.format("\\u%04x", (int) c));
            else json.append(c);
        }
        return json.append('"').toString();
    }

    public static void main(String[] words) throws IOException {
        Hookd hookd = new Hookd(Path.of(words[0]));
        if (words[1].equals("start")) {
            long id = hookd.startJob(words[2], words[3], words[4], words[5]);
            if (id < 0) System.exit(75);
            System.out.println(id);
        } else {
            hookd.endJob(Long.parseLong(words[2]), Long.parseLong(words[3]),
                Long.parseLong(words[4]), words[5]);
        }
    }
}
