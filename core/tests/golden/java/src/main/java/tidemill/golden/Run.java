package tidemill.golden;

import com.fasterxml.jackson.databind.JsonNode;
import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.time.Duration;
import java.time.Instant;
import java.util.ArrayList;
import java.util.List;
import java.util.Properties;
import java.util.TreeMap;
import java.util.TreeSet;
import java.util.stream.Stream;
import org.apache.kafka.common.header.Header;
import org.apache.kafka.common.header.internals.RecordHeaders;
import org.apache.kafka.common.serialization.ByteArrayDeserializer;
import org.apache.kafka.common.serialization.ByteArraySerializer;
import org.apache.kafka.streams.StreamsConfig;
import org.apache.kafka.streams.Topology;
import org.apache.kafka.streams.TopologyTestDriver;
import org.apache.kafka.streams.errors.LogAndContinueExceptionHandler;
import org.apache.kafka.streams.errors.LogAndContinueProcessingExceptionHandler;
import org.apache.kafka.streams.test.TestRecord;

/** Runs one scenario and writes down all that Kafka Streams makes of it. */
final class Run {
    private static final String APPLICATION_ID = "golden";

    private Run() {}

    static Vector vector(JsonNode scenario) throws IOException {
        Path folder = Files.createTempDirectory("golden");
        try {
            return vector(scenario, properties(scenario, folder));
        } finally {
            delete(folder);
        }
    }

    private static void delete(Path folder) throws IOException {
        try (Stream<Path> paths = Files.walk(folder)) {
            for (Path path : paths.sorted(java.util.Comparator.reverseOrder()).toList()) {
                Files.delete(path);
            }
        }
    }

    private static Properties properties(JsonNode scenario, Path folder) {
        Properties properties = new Properties();
        properties.put(StreamsConfig.APPLICATION_ID_CONFIG, APPLICATION_ID);
        properties.put(StreamsConfig.BOOTSTRAP_SERVERS_CONFIG, "nowhere:1");
        properties.put(StreamsConfig.STATE_DIR_CONFIG, folder.toString());
        Node config = new Node(scenario.path("config"));
        if (config.flag("optimize", false)) {
            properties.put(StreamsConfig.TOPOLOGY_OPTIMIZATION_CONFIG, StreamsConfig.OPTIMIZE);
            // else repartition topics are moved above processors that change keys (KAFKA-19668)
            properties.put("__enable.process.processValue.fix__", true);
        }
        if (config.flag("skip_what_cannot_be_read", false)) {
            properties.put(StreamsConfig.DESERIALIZATION_EXCEPTION_HANDLER_CLASS_CONFIG,
                LogAndContinueExceptionHandler.class);
        }
        if (config.flag("skip_what_fails", false)) {
            properties.put(StreamsConfig.PROCESSING_EXCEPTION_HANDLER_CLASS_CONFIG,
                LogAndContinueProcessingExceptionHandler.class);
        }
        config.checkAllUsed();
        return properties;
    }

    private static Vector vector(JsonNode scenario, Properties properties) {
        Builder builder = new Builder(properties);
        Topology topology = builder.build(scenario.get("topology"));
        Vector vector = new Vector(topology.describe().toString());
        try (TopologyTestDriver driver =
                new TopologyTestDriver(topology, properties, Instant.ofEpochMilli(0))) {
            vector.steps.add(caught(driver));
            for (JsonNode json : scenario.get("steps")) {
                Node step = new Node(json);
                boolean mayFail = step.flag("fails", false);
                try {
                    take(driver, builder, step, json);
                } catch (RuntimeException error) {
                    if (!mayFail || error instanceof IllegalArgumentException) {
                        throw error;
                    }
                    vector.failed = true;
                    return vector;
                }
                step.checkAllUsed();
                if (mayFail) {
                    throw new IllegalArgumentException("this step did not fail: " + json);
                }
                vector.steps.add(caught(driver));
            }
            Stores.write(driver, vector.stores);
        }
        return vector;
    }

    private static void take(TopologyTestDriver driver, Builder builder, Node step, JsonNode json) {
        if (step.has("advance")) {
            driver.advanceWallClockTime(Duration.ofMillis(step.number("advance")));
            return;
        }
        String topic = step.text("topic");
        step.has("key");
        step.has("value");
        step.has("headers");
        List<String> types = builder.typesOf(topic);
        RecordHeaders headers = new RecordHeaders();
        for (JsonNode header : json.path("headers")) {
            JsonNode value = header.get(1);
            headers.add(header.get(0).textValue(),
                value.isNull() ? null : Values.unescape(value.textValue()));
        }
        TestRecord<byte[], byte[]> record = new TestRecord<>(
            Values.bytes(json.get("key"), types.get(0)),
            Values.bytes(json.get("value"), types.get(1)), headers, step.number("at"));
        driver.createInputTopic(topic, new ByteArraySerializer(), new ByteArraySerializer())
            .pipeInput(record);
    }

    /** What was written since the last call, by topic. */
    private static TreeMap<String, List<Vector.Line>> caught(TopologyTestDriver driver) {
        TreeMap<String, List<Vector.Line>> topics = new TreeMap<>();
        for (String topic : new TreeSet<>(driver.producedTopicNames())) {
            List<Vector.Line> records = driver
                .createOutputTopic(topic, new ByteArrayDeserializer(), new ByteArrayDeserializer())
                .readRecordsToList().stream().map(Run::line).toList();
            if (!records.isEmpty()) {
                topics.put(topic, records);
            }
        }
        return topics;
    }

    private static Vector.Line line(TestRecord<byte[], byte[]> record) {
        Vector.Line line = new Vector.Line();
        line.bytes(record.key()).bytes(record.value()).number(record.timestamp());
        List<Vector.Line> headers = new ArrayList<>();
        for (Header header : record.headers()) {
            headers.add(new Vector.Line().text(header.key()).bytes(header.value()));
        }
        if (!headers.isEmpty()) {
            line.lines(headers);
        }
        return line;
    }
}
