package tidemill.bench;

import com.fasterxml.jackson.core.JsonFactory;
import com.fasterxml.jackson.core.JsonGenerator;
import com.sun.management.OperatingSystemMXBean;
import java.io.IOException;
import java.io.PrintStream;
import java.io.StringWriter;
import java.io.UncheckedIOException;
import java.lang.management.ManagementFactory;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.LinkedHashMap;
import java.util.Map;
import java.util.concurrent.TimeUnit;

/** Writes JSON lines for the harness: each carries the times and what the process has used. */
final class Reporter {
    private static final JsonFactory FACTORY = new JsonFactory();
    private static final Path STATUS = Path.of("/proc/self/status");

    private final PrintStream out;
    private final OperatingSystemMXBean system =
            ManagementFactory.getPlatformMXBean(OperatingSystemMXBean.class);

    Reporter(PrintStream out) {
        this.out = out;
    }

    /** Milliseconds since the JVM started. */
    static long uptime() {
        return ManagementFactory.getRuntimeMXBean().getUptime();
    }

    /** One line: {@code event} and both clocks first, then the fields in their order. */
    void event(String event, Map<String, ?> fields) {
        StringWriter line = new StringWriter(256);
        try (JsonGenerator json = FACTORY.createGenerator(line)) {
            json.writeStartObject();
            json.writeStringField("event", event);
            json.writeNumberField("t_ms", uptime());
            json.writeNumberField("epoch_ms", System.currentTimeMillis());
            for (Map.Entry<String, ?> field : fields.entrySet()) {
                if (field.getValue() instanceof Number number) {
                    json.writeNumberField(field.getKey(), number.longValue());
                } else if (field.getValue() instanceof Boolean truth) {
                    json.writeBooleanField(field.getKey(), truth);
                } else {
                    json.writeStringField(field.getKey(), String.valueOf(field.getValue()));
                }
            }
            json.writeEndObject();
        } catch (IOException e) {
            throw new UncheckedIOException(e);
        }
        synchronized (out) {
            out.println(line);
            out.flush();
        }
    }

    /** CPU time and memory of this process, as the fields of a metrics line. */
    Map<String, Long> usage() {
        Map<String, Long> usage = new LinkedHashMap<>();
        usage.put("cpu_ms", TimeUnit.NANOSECONDS.toMillis(system.getProcessCpuTime()));
        usage.put("rss_kb", statusField("VmRSS:"));
        usage.put("peak_rss_kb", statusField("VmHWM:"));
        return usage;
    }

    /** A size in kB from the kernel's process status; 0 where the system has no such file. */
    private static long statusField(String name) {
        if (!Files.exists(STATUS)) {
            return 0;
        }
        try (var lines = Files.lines(STATUS, StandardCharsets.UTF_8)) {
            return lines.filter(line -> line.startsWith(name))
                    .mapToLong(line -> Long.parseLong(line.split("\\s+")[1]))
                    .findFirst()
                    .orElse(0);
        } catch (IOException e) {
            throw new UncheckedIOException(e);
        }
    }
}
