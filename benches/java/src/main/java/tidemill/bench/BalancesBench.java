package tidemill.bench;

import java.lang.management.ManagementFactory;
import java.time.Duration;
import java.util.LinkedHashMap;
import java.util.Map;
import java.util.TreeMap;
import java.util.concurrent.CountDownLatch;
import java.util.concurrent.TimeUnit;
import java.util.concurrent.atomic.LongAdder;
import org.apache.kafka.common.utils.AppInfoParser;
import org.apache.kafka.streams.KafkaStreams;
import org.apache.kafka.streams.errors.StreamsUncaughtExceptionHandler.StreamThreadExceptionResponse;

/**
 * Runs the balances job on Apache Kafka Streams until SIGTERM or an error, and writes one JSON
 * line a second, and one for each event, to standard output.
 *
 * <p>Exit status: 0 closed cleanly by a signal, 1 stopped by an error or not closed in time,
 * 2 wrong command line.
 */
public final class BalancesBench {
    private static final Duration CLOSE_TIMEOUT = Duration.ofSeconds(30);

    private final Reporter reporter = new Reporter(System.out);
    private final LongAdder processed = new LongAdder();
    private final RestoreWatch restore = new RestoreWatch(reporter);
    private final CountDownLatch failed = new CountDownLatch(1);
    private final KafkaStreams streams;

    private BalancesBench(Options options) {
        var topology = BalancesTopology.build(options.topics(), options.repartition(), processed);
        streams = new KafkaStreams(topology, options.streams());
        streams.setGlobalStateRestoreListener(restore);
        streams.setStateListener((to, from) -> {
            reporter.event("state", Map.of("state", to, "from", from));
            if (to == KafkaStreams.State.ERROR) {
                failed.countDown();
            }
        });
        // A benchmark must not hide a failure behind a replaced thread.
        streams.setUncaughtExceptionHandler(error -> {
            reporter.event("error", Map.of("error", error));
            return StreamThreadExceptionResponse.SHUTDOWN_CLIENT;
        });
    }

    /** Starts the job; see {@link Options#USAGE}. */
    public static void main(String[] args) throws InterruptedException {
        Options options;
        try {
            options = Options.parse(args);
        } catch (IllegalArgumentException e) {
            System.err.println(e.getMessage() + System.lineSeparator() + Options.USAGE);
            System.exit(2);
            return;
        }
        new BalancesBench(options).run(options);
    }

    private void run(Options options) throws InterruptedException {
        Runtime.getRuntime().addShutdownHook(new Thread(this::close, "close"));
        reporter.event("start", describe(options));
        streams.start();
        while (!failed.await(1, TimeUnit.SECONDS)) {
            reporter.event("metrics", metrics());
        }
        System.exit(1);
    }

    /** Runs in the JVM's shutdown; halts, because the JVM would report the signal as status. */
    private void close() {
        boolean closed = streams.close(CLOSE_TIMEOUT);
        Map<String, Object> last = metrics();
        last.put("clean", closed && failed.getCount() > 0);
        reporter.event("closed", last);
        Runtime.getRuntime().halt(closed && failed.getCount() > 0 ? 0 : 1);
    }

    private Map<String, Object> metrics() {
        Map<String, Object> metrics = new LinkedHashMap<>();
        metrics.put("processed", processed.sum());
        metrics.put("state", streams.state());
        metrics.putAll(reporter.usage());
        metrics.put("restored", restore.restored());
        metrics.put("restore_ms", restore.elapsedMs());
        return metrics;
    }

    private static Map<String, Object> describe(Options options) {
        var jvm = ManagementFactory.getRuntimeMXBean();
        Map<String, Object> start = new LinkedHashMap<>();
        start.put("kafka_streams", AppInfoParser.getVersion());
        start.put("jvm", jvm.getVmName() + " " + jvm.getVmVersion());
        start.put("jvm_flags", String.join(" ", jvm.getInputArguments()));
        start.put("mode", options.repartition() ? "repartition" : "keyed");
        // Security settings may be secrets, and say nothing about the measurement.
        var settings = new TreeMap<>(options.streams());
        settings.keySet().removeIf(name -> name.toString().matches("(.*[.])?(sasl|ssl)[.].*"));
        start.put("settings", settings);
        return start;
    }
}
