package tidemill.golden;

import java.util.Optional;
import java.util.Set;
import org.apache.kafka.streams.processor.RecordContext;
import org.apache.kafka.streams.processor.StreamPartitioner;
import org.apache.kafka.streams.processor.TopicNameExtractor;

/** The closed set of ways to choose topics and partitions; `sinks.rs` has the same ones. */
final class Sinks {
    private Sinks() {}

    static TopicNameExtractor<Object, Object> extractor(String name) {
        return new TopicNameExtractor<>() {
            @Override
            public String extract(Object key, Object value, RecordContext context) {
                return "out-" + switch (name) {
                    case "by_key" -> key == null || key.equals("") ? "none" : Functions.text(key);
                    case "by_measure" -> Long.toString(Functions.measure(value));
                    case "by_source" -> context.topic() + "-" + context.partition() + "-"
                        + context.offset();
                    case "by_record" -> context.timestamp() + "-"
                        + context.headers().toArray().length;
                    case "fail_on_bad" -> Functions.text(Functions.failOnBad(value)).length();
                    default -> throw new IllegalArgumentException("no extractor " + name);
                };
            }

            @Override
            public String toString() {
                return name;
            }
        };
    }

    static StreamPartitioner<Object, Object> partitioner(String name) {
        return (topic, key, value, partitions) -> switch (name) {
            case "by_key" -> Optional.empty();
            case "last" -> Optional.of(Set.of(partitions - 1));
            case "nowhere" -> Optional.of(Set.of());
            case "nowhere_if_large" ->
                Functions.measure(value) > 3 ? Optional.of(Set.of()) : Optional.empty();
            default -> throw new IllegalArgumentException("no partitioner " + name);
        };
    }
}
