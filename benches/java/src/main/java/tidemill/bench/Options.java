package tidemill.bench;

import java.util.ArrayList;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.Properties;
import java.util.stream.Collectors;
import org.apache.kafka.streams.StreamsConfig;
import org.apache.kafka.streams.errors.LogAndContinueExceptionHandler;
import org.apache.kafka.streams.errors.LogAndContinueProcessingExceptionHandler;

/** The command line, and the Kafka Streams settings that follow from it. */
record Options(Topics topics, boolean repartition, Properties streams) {
    /** Where records come from and where balances go. */
    record Topics(String input, String output) {}

    static final String USAGE = """
            usage: BalancesBench --bootstrap-servers HOST:PORT --application-id ID --state-dir DIR
              [--input transactions] [--output balances]
              [--repartition]            re-key by account_id through a repartition topic
              [--dead-letters TOPIC]     invalid records go there; without it they stop the program
              [--commit-interval-ms 100] [--workers 1]
              [--set NAME=VALUE]...      any Kafka Streams setting, applied last
            """;

    private static final Map<String, String> DEFAULTS = Map.of(
            "--input", "transactions",
            "--output", "balances",
            "--commit-interval-ms", "100",
            "--workers", "1");
    private static final List<String> REQUIRED =
            List.of("--bootstrap-servers", "--application-id", "--state-dir");

    /**
     * Reads the command line.
     *
     * @throws IllegalArgumentException naming every missing flag, or the first unknown one
     */
    static Options parse(String[] args) {
        Map<String, String> flags = new LinkedHashMap<>(DEFAULTS);
        Map<String, String> settings = new LinkedHashMap<>();
        boolean repartition = false;
        for (int at = 0; at < args.length; at++) {
            String flag = args[at];
            if (flag.equals("--repartition")) {
                repartition = true;
                continue;
            }
            boolean known = DEFAULTS.containsKey(flag) || REQUIRED.contains(flag)
                    || flag.equals("--dead-letters") || flag.equals("--set");
            if (!known || at + 1 == args.length) {
                throw new IllegalArgumentException(
                        (known ? "no value after " : "unknown argument ") + flag);
            }
            String value = args[++at];
            if (flag.equals("--set")) {
                String[] pair = value.split("=", 2);
                if (pair.length != 2) {
                    throw new IllegalArgumentException("--set wants NAME=VALUE, not " + value);
                }
                settings.put(pair[0], pair[1]);
            } else {
                flags.put(flag, value);
            }
        }
        List<String> missing = new ArrayList<>(REQUIRED);
        missing.removeAll(flags.keySet());
        if (!missing.isEmpty()) {
            throw new IllegalArgumentException(
                    missing.stream().collect(Collectors.joining(", ", "missing ", "")));
        }
        Topics topics = new Topics(flags.get("--input"), flags.get("--output"));
        Properties streams = streams(flags);
        streams.putAll(settings);
        return new Options(topics, repartition, streams);
    }

    /** Exactly once, the given commit interval, and otherwise what Kafka Streams sets itself. */
    private static Properties streams(Map<String, String> flags) {
        Properties streams = new Properties();
        streams.put(StreamsConfig.APPLICATION_ID_CONFIG, flags.get("--application-id"));
        streams.put(StreamsConfig.BOOTSTRAP_SERVERS_CONFIG, flags.get("--bootstrap-servers"));
        streams.put(StreamsConfig.STATE_DIR_CONFIG, flags.get("--state-dir"));
        streams.put(StreamsConfig.PROCESSING_GUARANTEE_CONFIG, StreamsConfig.EXACTLY_ONCE_V2);
        streams.put(StreamsConfig.COMMIT_INTERVAL_MS_CONFIG, flags.get("--commit-interval-ms"));
        streams.put(StreamsConfig.NUM_STREAM_THREADS_CONFIG, flags.get("--workers"));
        String deadLetters = flags.get("--dead-letters");
        if (deadLetters != null) {
            streams.put(StreamsConfig.ERRORS_DEAD_LETTER_QUEUE_TOPIC_NAME_CONFIG, deadLetters);
            streams.put(
                    StreamsConfig.DESERIALIZATION_EXCEPTION_HANDLER_CLASS_CONFIG,
                    LogAndContinueExceptionHandler.class);
            streams.put(
                    StreamsConfig.PROCESSING_EXCEPTION_HANDLER_CLASS_CONFIG,
                    LogAndContinueProcessingExceptionHandler.class);
        }
        return streams;
    }
}
