package tidemill.golden;

import com.fasterxml.jackson.databind.JsonNode;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.Properties;
import org.apache.kafka.streams.StreamsBuilder;
import org.apache.kafka.streams.StreamsConfig;
import org.apache.kafka.streams.Topology;
import org.apache.kafka.streams.TopologyConfig;
import org.apache.kafka.streams.kstream.Branched;
import org.apache.kafka.streams.kstream.BranchedKStream;
import org.apache.kafka.streams.kstream.Consumed;
import org.apache.kafka.streams.kstream.GlobalKTable;
import org.apache.kafka.streams.kstream.Grouped;
import org.apache.kafka.streams.kstream.KStream;
import org.apache.kafka.streams.kstream.KTable;
import org.apache.kafka.streams.kstream.Named;
import org.apache.kafka.streams.kstream.Produced;
import org.apache.kafka.streams.kstream.Repartitioned;
import org.apache.kafka.streams.state.KeyValueStore;
import org.apache.kafka.streams.state.StoreBuilder;
import org.apache.kafka.streams.state.Stores;
import org.apache.kafka.streams.state.TimestampedKeyValueStore;

/** Makes the topology of a scenario. */
final class Builder {
    private final Properties properties;
    private final StreamsBuilder builder;
    private final Tables tables;
    /** What each operator returned, by its id. */
    private final Map<String, Object> made = new HashMap<>();
    /** The stores that processors bring with them: one builder for all that name the same. */
    private final Map<String, StoreBuilder<?>> brought = new HashMap<>();
    /** For each topic that is read: the types of key and value. */
    private final Map<String, List<String>> types = new HashMap<>();

    Builder(Properties properties) {
        this.properties = properties;
        builder = new StreamsBuilder(new TopologyConfig(new StreamsConfig(properties)));
        tables = new Tables(this, builder);
    }

    Topology build(JsonNode operators) {
        for (JsonNode json : operators) {
            Node node = new Node(json);
            Object result = add(node.text("op"), node);
            String id = node.text("id", null);
            node.checkAllUsed();
            if (id != null && made.put(id, result) != null) {
                throw new IllegalArgumentException("the id " + id + " is taken twice");
            }
        }
        return builder.build(properties);
    }

    List<String> typesOf(String topic) {
        return types.get(topic);
    }

    void reads(String topic, Node node) {
        types.put(topic, List.of(node.text("key", "string"), node.text("value", "string")));
    }

    Object get(String id) {
        Object found = made.get(id);
        if (found == null) {
            throw new IllegalArgumentException("nothing has the id " + id);
        }
        return found;
    }

    @SuppressWarnings("unchecked")
    KStream<Object, Object> stream(String id) {
        return (KStream<Object, Object>) get(id);
    }

    @SuppressWarnings("unchecked")
    KTable<Object, Object> table(String id) {
        return (KTable<Object, Object>) get(id);
    }

    @SuppressWarnings("unchecked")
    GlobalKTable<Object, Object> globalTable(String id) {
        return (GlobalKTable<Object, Object>) get(id);
    }

    static Consumed<Object, Object> consumed(Node node) {
        Consumed<Object, Object> consumed = Consumed.with(node.serde("key"), node.serde("value"));
        return node.has("name") ? consumed.withName(node.text("name")) : consumed;
    }

    private Object add(String op, Node node) {
        return switch (op) {
            case "stream" -> source(node);
            case "state_store" -> stateStore(node);
            case "filter", "filter_not", "peek", "for_each", "merge", "map", "map_values",
                "map_values_with_key", "flat_map", "flat_map_values", "flat_map_values_with_key",
                "select_key" -> stateless(op, node, stream(node.text("from")), node.named());
            case "split" -> split(node);
            case "process", "process_values" ->
                Processors.add(op, node, stream(node.text("from")), brought);
            case "repartition" -> repartition(node);
            case "group_by", "group_by_key" -> group(op, node);
            case "to" -> sink(node);
            default -> tables.add(op, node);
        };
    }

    private Object source(Node node) {
        List<String> topics = node.has("topics")
            ? node.texts("topics") : List.of(node.text("topic"));
        topics.forEach(topic -> reads(topic, node));
        return builder.stream(topics, consumed(node));
    }

    private Object stateStore(Node node) {
        String name = node.text("name");
        StoreBuilder<?> store;
        if (node.flag("timestamped", false)) {
            StoreBuilder<TimestampedKeyValueStore<Object, Object>> timestamped =
                Stores.timestampedKeyValueStoreBuilder(
                    Stores.persistentTimestampedKeyValueStore(name),
                    node.serde("key"), node.serde("value"));
            store = timestamped;
        } else {
            StoreBuilder<KeyValueStore<Object, Object>> plain = Stores.keyValueStoreBuilder(
                Stores.persistentKeyValueStore(name), node.serde("key"), node.serde("value"));
            store = plain;
        }
        builder.addStateStore(node.flag("logging", true) ? store : store.withLoggingDisabled());
        return null;
    }

    private Object stateless(String op, Node node, KStream<Object, Object> from, Named named) {
        switch (op) {
            case "filter":
                var keep = Functions.predicate(node.text("fn"));
                return named == null ? from.filter(keep) : from.filter(keep, named);
            case "filter_not":
                var drop = Functions.predicate(node.text("fn"));
                return named == null ? from.filterNot(drop) : from.filterNot(drop, named);
            case "peek":
                return named == null ? from.peek((k, v) -> { }) : from.peek((k, v) -> { }, named);
            case "for_each":
                if (named == null) {
                    from.foreach((k, v) -> { });
                } else {
                    from.foreach((k, v) -> { }, named);
                }
                return null;
            case "merge":
                KStream<Object, Object> other = stream(node.text("with"));
                return named == null ? from.merge(other) : from.merge(other, named);
            case "map":
                var pair = Functions.pair(node.text("fn"));
                return named == null ? from.map(pair) : from.map(pair, named);
            case "map_values":
                var value = Functions.value(node.text("fn"));
                return named == null ? from.mapValues(v -> value.apply(null, v))
                    : from.mapValues(v -> value.apply(null, v), named);
            case "map_values_with_key":
                var keyed = Functions.value(node.text("fn"));
                return named == null ? from.mapValues((k, v) -> keyed.apply(k, v))
                    : from.mapValues((k, v) -> keyed.apply(k, v), named);
            case "flat_map":
                var pairs = Functions.pairs(node.text("fn"));
                return named == null ? from.flatMap(pairs) : from.flatMap(pairs, named);
            case "flat_map_values":
                var values = Functions.values(node.text("fn"));
                return named == null ? from.flatMapValues(v -> values.apply(null, v))
                    : from.flatMapValues(v -> values.apply(null, v), named);
            case "flat_map_values_with_key":
                var many = Functions.values(node.text("fn"));
                return named == null ? from.flatMapValues((k, v) -> many.apply(k, v))
                    : from.flatMapValues((k, v) -> many.apply(k, v), named);
            default:
                var key = Functions.key(node.text("fn"));
                return named == null ? from.selectKey(key) : from.selectKey(key, named);
        }
    }

    private static Branched<Object, Object> branched(Node node) {
        return node.has("name") ? Branched.as(node.text("name")) : null;
    }

    private Object split(Node node) {
        KStream<Object, Object> from = stream(node.text("from"));
        Named named = node.named();
        BranchedKStream<Object, Object> split = named == null ? from.split() : from.split(named);
        Map<String, String> positions = new HashMap<>();
        int position = 0;
        for (Node branch : node.children("branches")) {
            position++;
            var predicate = Functions.predicate(branch.text("fn"));
            Branched<Object, Object> branched = branched(branch);
            split = branched == null
                ? split.branch(predicate) : split.branch(predicate, branched);
            positions.put(branch.text("id"), branch.text("name", Integer.toString(position)));
        }
        Map<String, KStream<Object, Object>> branches;
        if (node.has("default")) {
            Node other = node.child("default");
            Branched<Object, Object> branched = branched(other);
            branches = branched == null ? split.defaultBranch() : split.defaultBranch(branched);
            positions.put(other.text("id"), other.text("name", "0"));
        } else {
            branches = split.noDefaultBranch();
        }
        positions.forEach((id, suffix) -> branches.forEach((name, stream) -> {
            // generated prefixes end in a digit, so a position is not a suffix of another one
            String prefix = named == null ? name.substring(0, "KSTREAM-BRANCH-0000000000".length())
                : node.text("name");
            if (name.equals(prefix + suffix)) {
                made.put(id, stream);
            }
        }));
        return null;
    }

    private Object repartition(Node node) {
        KStream<Object, Object> from = stream(node.text("from"));
        Repartitioned<Object, Object> repartitioned =
            Repartitioned.with(node.serde("key"), node.serde("value"));
        if (node.has("name")) {
            repartitioned = repartitioned.withName(node.text("name"));
        }
        if (node.has("partitions")) {
            repartitioned = repartitioned.withNumberOfPartitions((int) node.number("partitions"));
        }
        if (node.has("partitioner")) {
            repartitioned = repartitioned
                .withStreamPartitioner(Sinks.partitioner(node.text("partitioner")));
        }
        return from.repartition(repartitioned);
    }

    static Grouped<Object, Object> grouped(Node node) {
        Grouped<Object, Object> grouped = Grouped.with(node.serde("key"), node.serde("value"));
        return node.has("name") ? grouped.withName(node.text("name")) : grouped;
    }

    private Object group(String op, Node node) {
        KStream<Object, Object> from = stream(node.text("from"));
        return op.equals("group_by_key") ? from.groupByKey(grouped(node))
            : from.groupBy(Functions.key(node.text("fn")), grouped(node));
    }

    private Object sink(Node node) {
        Produced<Object, Object> produced = Produced.with(node.serde("key"), node.serde("value"));
        if (node.has("name")) {
            produced = produced.withName(node.text("name"));
        }
        if (node.has("partitioner")) {
            produced = produced.withStreamPartitioner(Sinks.partitioner(node.text("partitioner")));
        }
        KStream<Object, Object> from = stream(node.text("from"));
        if (node.has("extractor")) {
            from.to(Sinks.extractor(node.text("extractor")), produced);
        } else {
            from.to(node.text("topic"), produced);
        }
        return null;
    }
}
