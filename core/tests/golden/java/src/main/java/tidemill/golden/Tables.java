package tidemill.golden;

import org.apache.kafka.common.utils.Bytes;
import org.apache.kafka.streams.StreamsBuilder;
import org.apache.kafka.streams.kstream.KGroupedStream;
import org.apache.kafka.streams.kstream.KGroupedTable;
import org.apache.kafka.streams.kstream.KStream;
import org.apache.kafka.streams.kstream.KTable;
import org.apache.kafka.streams.kstream.Materialized;
import org.apache.kafka.streams.kstream.Named;
import org.apache.kafka.streams.kstream.SessionWindowedCogroupedKStream;
import org.apache.kafka.streams.kstream.SessionWindowedKStream;
import org.apache.kafka.streams.kstream.Suppressed;
import org.apache.kafka.streams.kstream.Suppressed.BufferConfig;
import org.apache.kafka.streams.kstream.TimeWindowedCogroupedKStream;
import org.apache.kafka.streams.kstream.TimeWindowedKStream;
import org.apache.kafka.streams.kstream.CogroupedKStream;
import org.apache.kafka.streams.processor.StateStore;
import org.apache.kafka.streams.state.KeyValueStore;
import org.apache.kafka.streams.state.Stores;
import org.apache.kafka.streams.state.VersionedBytesStoreSupplier;

/** Tables, and what becomes one. */
final class Tables {
    private final Builder all;
    private final StreamsBuilder builder;
    private final Joins joins;
    private final Windowing windowing;

    Tables(Builder all, StreamsBuilder builder) {
        this.all = all;
        this.builder = builder;
        joins = new Joins(all);
        windowing = new Windowing(all);
    }

    Object add(String op, Node node) {
        return switch (op) {
            case "table" -> table(node);
            case "global_table" -> globalTable(node);
            case "to_table" -> toTable(node);
            case "to_stream" -> toStream(node);
            case "table_filter", "table_filter_not", "table_map_values" -> change(op, node);
            case "group_table" -> all.table(node.text("from"))
                .groupBy(Functions.pair(node.text("fn")), Builder.grouped(node));
            case "count", "reduce", "aggregate" -> aggregation(op, node);
            case "windowed_by" -> windowing.windowed(node);
            case "cogroup" -> windowing.cogroup(node);
            case "suppress" -> suppress(node);
            default -> joins.add(op, node);
        };
    }

    /** The options of a table's store; nothing if the node has no field `store`. */
    static <S extends StateStore> Materialized<Object, Object, S> store(Node node) {
        if (!node.has("store")) {
            return null;
        }
        Node store = node.child("store");
        Materialized<Object, Object, S> materialized = store.has("name")
            ? Materialized.as(store.text("name")) : Materialized.with(null, null);
        if (store.has("key")) {
            materialized = materialized.withKeySerde(store.serde("key"));
        }
        if (store.has("value")) {
            materialized = materialized.withValueSerde(store.serde("value"));
        }
        if (store.has("caching")) {
            materialized = store.flag("caching", true)
                ? materialized.withCachingEnabled() : materialized.withCachingDisabled();
        }
        if (!store.flag("logging", true)) {
            materialized = materialized.withLoggingDisabled();
        }
        if (store.has("retention")) {
            materialized = materialized.withRetention(store.duration("retention"));
        }
        return materialized;
    }

    /** As above, and perhaps with versions: `store.history` milliseconds of them. */
    private static Materialized<Object, Object, KeyValueStore<Bytes, byte[]>> tableStore(
            Node node) {
        if (!node.has("history")) {
            return store(node);
        }
        VersionedBytesStoreSupplier supplier =
            Stores.persistentVersionedKeyValueStore(
                node.text("versions"), node.duration("history"));
        return Materialized.<Object, Object>as(supplier)
            .withKeySerde(node.serde("key")).withValueSerde(node.serde("value"));
    }

    private Object table(Node node) {
        String topic = node.text("topic");
        all.reads(topic, node);
        Materialized<Object, Object, KeyValueStore<Bytes, byte[]>> store = tableStore(node);
        return store == null ? builder.table(topic, Builder.consumed(node))
            : builder.table(topic, Builder.consumed(node), store);
    }

    private Object globalTable(Node node) {
        String topic = node.text("topic");
        all.reads(topic, node);
        Materialized<Object, Object, KeyValueStore<Bytes, byte[]>> store = store(node);
        return store == null ? builder.globalTable(topic, Builder.consumed(node))
            : builder.globalTable(topic, Builder.consumed(node), store);
    }

    private Object toTable(Node node) {
        KStream<Object, Object> from = all.stream(node.text("from"));
        Named named = node.named();
        Materialized<Object, Object, KeyValueStore<Bytes, byte[]>> store = store(node);
        if (store == null) {
            return named == null ? from.toTable() : from.toTable(named);
        }
        return named == null ? from.toTable(store) : from.toTable(named, store);
    }

    private Object toStream(Node node) {
        KTable<Object, Object> from = all.table(node.text("from"));
        Named named = node.named();
        if (node.has("fn")) {
            var key = Functions.key(node.text("fn"));
            return named == null ? from.toStream(key) : from.toStream(key, named);
        }
        return named == null ? from.toStream() : from.toStream(named);
    }

    private Object change(String op, Node node) {
        KTable<Object, Object> from = all.table(node.text("from"));
        Materialized<Object, Object, KeyValueStore<Bytes, byte[]>> store = store(node);
        Named named = node.named();
        if (op.equals("table_map_values")) {
            var value = Functions.value(node.text("fn"));
            org.apache.kafka.streams.kstream.ValueMapperWithKey<Object, Object, Object> mapper =
                value::apply;
            if (store == null) {
                return named == null ? from.mapValues(mapper) : from.mapValues(mapper, named);
            }
            return named == null
                ? from.mapValues(mapper, store) : from.mapValues(mapper, named, store);
        }
        var predicate = Functions.predicate(node.text("fn"));
        if (op.equals("table_filter")) {
            if (store == null) {
                return named == null ? from.filter(predicate) : from.filter(predicate, named);
            }
            return named == null
                ? from.filter(predicate, store) : from.filter(predicate, named, store);
        }
        if (store == null) {
            return named == null ? from.filterNot(predicate) : from.filterNot(predicate, named);
        }
        return named == null
            ? from.filterNot(predicate, store) : from.filterNot(predicate, named, store);
    }

    @SuppressWarnings("unchecked")
    private Object aggregation(String op, Node node) {
        Object from = all.get(node.text("from"));
        if (from instanceof KGroupedStream<?, ?> grouped) {
            return ofStream(op, node, (KGroupedStream<Object, Object>) grouped);
        }
        if (from instanceof KGroupedTable<?, ?> grouped) {
            return ofTable(op, node, (KGroupedTable<Object, Object>) grouped);
        }
        if (from instanceof TimeWindowedKStream<?, ?> windowed) {
            return windowing.ofWindows(op, node, (TimeWindowedKStream<Object, Object>) windowed);
        }
        if (from instanceof SessionWindowedKStream<?, ?> windowed) {
            return windowing.ofSessions(
                op, node, (SessionWindowedKStream<Object, Object>) windowed);
        }
        if (from instanceof CogroupedKStream<?, ?> cogrouped) {
            return windowing.ofCogroup(node, (CogroupedKStream<Object, Object>) cogrouped);
        }
        if (from instanceof TimeWindowedCogroupedKStream<?, ?> cogrouped) {
            return windowing.ofCogroup(
                node, (TimeWindowedCogroupedKStream<Object, Object>) cogrouped);
        }
        return windowing.ofCogroup(
            node, (SessionWindowedCogroupedKStream<Object, Object>) from);
    }

    private static Object ofStream(String op, Node node, KGroupedStream<Object, Object> grouped) {
        Materialized<Object, Object, KeyValueStore<Bytes, byte[]>> store = store(node);
        Named named = node.named();
        if (op.equals("count")) {
            if (store == null) {
                return named == null ? grouped.count() : grouped.count(named);
            }
            Materialized<Object, Long, KeyValueStore<Bytes, byte[]>> counts = Counts.of(store);
            return named == null ? grouped.count(counts) : grouped.count(named, counts);
        }
        if (op.equals("reduce")) {
            var reducer = Functions.reducer(node.text("fn"));
            if (store == null && named == null) {
                return grouped.reduce(reducer);
            }
            store = store == null ? Materialized.with(null, null) : store;
            return named == null
                ? grouped.reduce(reducer, store) : grouped.reduce(reducer, named, store);
        }
        var initializer = Functions.initializer(node.text("init"));
        var aggregator = Functions.aggregator(node.text("fn"));
        return named == null ? grouped.aggregate(initializer, aggregator, store)
            : grouped.aggregate(initializer, aggregator, named, store);
    }

    private static Object ofTable(String op, Node node, KGroupedTable<Object, Object> grouped) {
        Materialized<Object, Object, KeyValueStore<Bytes, byte[]>> store = store(node);
        Named named = node.named();
        if (op.equals("count")) {
            if (store == null) {
                return named == null ? grouped.count() : grouped.count(named);
            }
            Materialized<Object, Long, KeyValueStore<Bytes, byte[]>> counts = Counts.of(store);
            return named == null ? grouped.count(counts) : grouped.count(named, counts);
        }
        if (op.equals("reduce")) {
            var add = Functions.reducer(node.text("add"));
            var subtract = Functions.reducer(node.text("subtract"));
            if (store == null && named == null) {
                return grouped.reduce(add, subtract);
            }
            store = store == null ? Materialized.with(null, null) : store;
            return named == null ? grouped.reduce(add, subtract, store)
                : grouped.reduce(add, subtract, named, store);
        }
        var initializer = Functions.initializer(node.text("init"));
        var add = Functions.aggregator(node.text("add"));
        var subtract = Functions.aggregator(node.text("subtract"));
        return named == null ? grouped.aggregate(initializer, add, subtract, store)
            : grouped.aggregate(initializer, add, subtract, named, store);
    }

    private Object suppress(Node node) {
        KTable<Object, Object> from = all.table(node.text("from"));
        Suppressed<Object> suppressed;
        if (node.text("until").equals("window_closes")) {
            var buffer = node.has("max_records")
                ? BufferConfig.maxRecords(node.number("max_records")).shutDownWhenFull()
                : BufferConfig.unbounded();
            @SuppressWarnings({"unchecked", "rawtypes"})
            Suppressed<Object> closes = (Suppressed) Suppressed.untilWindowCloses(buffer);
            suppressed = closes;
        } else {
            BufferConfig<?> buffer = BufferConfig.unbounded();
            if (node.has("max_records")) {
                buffer = BufferConfig.maxRecords(node.number("max_records"));
            }
            if (node.has("max_bytes")) {
                buffer = BufferConfig.maxBytes(node.number("max_bytes"));
            }
            suppressed = Suppressed.untilTimeLimit(node.duration("limit"), buffer);
        }
        return from.suppress(
            node.has("name") ? suppressed.withName(node.text("name")) : suppressed);
    }
}
