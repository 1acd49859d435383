import java.io.IOException;
import java.time.Duration;
import java.util.Properties;
import org.apache.kafka.clients.consumer.ConsumerConfig;
import org.apache.kafka.common.serialization.Serdes;
import org.apache.kafka.streams.CloseOptions;
import org.apache.kafka.streams.KafkaStreams;
import org.apache.kafka.streams.StreamsBuilder;
import org.apache.kafka.streams.StreamsConfig;
import org.apache.kafka.streams.Topology;
import org.apache.kafka.streams.kstream.Consumed;
import org.apache.kafka.streams.kstream.Grouped;
import org.apache.kafka.streams.kstream.Joined;
import org.apache.kafka.streams.kstream.KGroupedStream;
import org.apache.kafka.streams.kstream.KStream;
import org.apache.kafka.streams.kstream.KTable;
import org.apache.kafka.streams.kstream.Materialized;
import org.apache.kafka.streams.kstream.Produced;

/**
 * The topology of kafka_streams.rs, run by Kafka Streams: it and Tidemill take each other's place
 * in one application. Runs until its standard input ends; says what it does on standard output.
 *
 * <p>Arguments: bootstrap servers, application id, state directory, prefix of the topics' names.
 */
public final class Takeover {
    private Takeover() {
    }

    public static void main(String[] arguments) throws IOException {
        Topology topology = topology(arguments[3]);
        System.out.print(topology.describe());
        Properties properties = new Properties();
        properties.put(StreamsConfig.BOOTSTRAP_SERVERS_CONFIG, arguments[0]);
        properties.put(StreamsConfig.APPLICATION_ID_CONFIG, arguments[1]);
        properties.put(StreamsConfig.STATE_DIR_CONFIG, arguments[2]);
        properties.put(StreamsConfig.PROCESSING_GUARANTEE_CONFIG, StreamsConfig.EXACTLY_ONCE_V2);
        properties.put(StreamsConfig.DEFAULT_KEY_SERDE_CLASS_CONFIG, Serdes.StringSerde.class);
        properties.put(StreamsConfig.DEFAULT_VALUE_SERDE_CLASS_CONFIG, Serdes.StringSerde.class);
        properties.put(StreamsConfig.COMMIT_INTERVAL_MS_CONFIG, 50);
        properties.put(StreamsConfig.REPLICATION_FACTOR_CONFIG, 1);
        properties.put(StreamsConfig.consumerPrefix(ConsumerConfig.AUTO_OFFSET_RESET_CONFIG),
            "earliest");
        KafkaStreams streams = new KafkaStreams(topology, properties);
        streams.setStateListener((next, before) -> {
            System.out.println("state " + next);
            System.out.flush();
        });
        streams.start();
        while (System.in.read() >= 0) {
            // only the end is of interest
        }
        boolean closed = streams.close(CloseOptions
            .groupMembershipOperation(CloseOptions.GroupMembershipOperation.LEAVE_GROUP)
            .withTimeout(Duration.ofSeconds(30)));
        System.out.println(closed ? "closed" : "not closed in time");
        System.exit(closed ? 0 : 1);
    }

    private static Topology topology(String prefix) {
        Consumed<String, String> strings = Consumed.with(Serdes.String(), Serdes.String());
        StreamsBuilder builder = new StreamsBuilder();
        KStream<String, String> words = builder.stream(prefix + "words", strings);
        KGroupedStream<String, String> byWord =
            words.groupBy((key, word) -> word, Grouped.with(Serdes.String(), Serdes.String()));
        byWord.count(Materialized.as("counts")).toStream()
            .to(prefix + "counts", Produced.with(Serdes.String(), Serdes.Long()));
        words.groupByKey(Grouped.with(Serdes.String(), Serdes.String()))
            .reduce((all, word) -> all + " " + word, Materialized.as("reduced")).toStream()
            .to(prefix + "reduced", Produced.with(Serdes.String(), Serdes.String()));
        KTable<String, String> left =
            builder.table(prefix + "left", strings, Materialized.as("left"));
        KTable<String, String> right =
            builder.table(prefix + "right", strings, Materialized.as("right"));
        left.outerJoin(right, (a, b) -> a + "+" + b, Materialized.as("joined")).toStream()
            .to(prefix + "joined", Produced.with(Serdes.String(), Serdes.String()));
        words.leftJoin(left, (word, a) -> word + "/" + a, Joined.with(
            Serdes.String(), Serdes.String(), Serdes.String()))
            .to(prefix + "enriched", Produced.with(Serdes.String(), Serdes.String()));
        return builder.build();
    }
}
