package tidemill.golden;

import org.apache.kafka.common.utils.Bytes;
import org.apache.kafka.streams.kstream.GlobalKTable;
import org.apache.kafka.streams.kstream.JoinWindows;
import org.apache.kafka.streams.kstream.Joined;
import org.apache.kafka.streams.kstream.KStream;
import org.apache.kafka.streams.kstream.KTable;
import org.apache.kafka.streams.kstream.Materialized;
import org.apache.kafka.streams.kstream.Named;
import org.apache.kafka.streams.kstream.StreamJoined;
import org.apache.kafka.streams.kstream.TableJoined;
import org.apache.kafka.streams.kstream.ValueJoiner;
import org.apache.kafka.streams.state.KeyValueStore;

/** Joins of all kinds: the field `kind` is `inner`, `left` or `outer`. */
final class Joins {
    private final Builder all;

    Joins(Builder all) {
        this.all = all;
    }

    private static IllegalArgumentException unknown(String kind) {
        return new IllegalArgumentException("there is no join " + kind);
    }

    Object add(String op, Node node) {
        var joiner = node.has("fn") ? Functions.joiner(node.text("fn")) : null;
        return switch (op) {
            case "join_stream" -> streams(node, joiner);
            case "join_table" -> streamAndTable(node, joiner);
            case "join_global_table" -> streamAndGlobalTable(node, joiner);
            case "join_tables" -> tables(node, joiner);
            case "foreign_key_join" -> foreignKey(node, joiner);
            default -> throw new IllegalArgumentException("no operator is called " + op);
        };
    }

    private Object streams(Node node, ValueJoiner<Object, Object, Object> joiner) {
        KStream<Object, Object> from = all.stream(node.text("from"));
        KStream<Object, Object> with = all.stream(node.text("with"));
        Node window = node.child("window");
        JoinWindows windows = JoinWindows
            .ofTimeDifferenceAndGrace(window.duration("difference"), window.duration("grace"));
        if (window.has("before")) {
            windows = windows.before(window.duration("before"));
        }
        if (window.has("after")) {
            windows = windows.after(window.duration("after"));
        }
        StreamJoined<Object, Object, Object> joined = StreamJoined.with(
            node.serde("key"), node.serde("value"), node.serde("other_value"));
        if (node.has("name")) {
            joined = joined.withName(node.text("name"));
        }
        if (node.has("store_name")) {
            joined = joined.withStoreName(node.text("store_name"));
        }
        String kind = node.text("kind");
        return switch (kind) {
            case "inner" -> from.join(with, joiner, windows, joined);
            case "left" -> from.leftJoin(with, joiner, windows, joined);
            case "outer" -> from.outerJoin(with, joiner, windows, joined);
            default -> throw unknown(kind);
        };
    }

    private Object streamAndTable(Node node, ValueJoiner<Object, Object, Object> joiner) {
        KStream<Object, Object> from = all.stream(node.text("from"));
        KTable<Object, Object> with = all.table(node.text("with"));
        Joined<Object, Object, Object> joined = Joined.with(
            node.serde("key"), node.serde("value"), node.serde("other_value"));
        if (node.has("name")) {
            joined = joined.withName(node.text("name"));
        }
        if (node.has("grace")) {
            joined = joined.withGracePeriod(node.duration("grace"));
        }
        String kind = node.text("kind");
        return switch (kind) {
            case "inner" -> from.join(with, joiner, joined);
            case "left" -> from.leftJoin(with, joiner, joined);
            default -> throw unknown(kind);
        };
    }

    private Object streamAndGlobalTable(Node node, ValueJoiner<Object, Object, Object> joiner) {
        KStream<Object, Object> from = all.stream(node.text("from"));
        GlobalKTable<Object, Object> with = all.globalTable(node.text("with"));
        var key = Functions.key(node.text("select"));
        Named named = node.named();
        String kind = node.text("kind");
        return switch (kind) {
            case "inner" -> named == null
                ? from.join(with, key, joiner) : from.join(with, key, joiner, named);
            case "left" -> named == null
                ? from.leftJoin(with, key, joiner) : from.leftJoin(with, key, joiner, named);
            default -> throw unknown(kind);
        };
    }

    private Object tables(Node node, ValueJoiner<Object, Object, Object> joiner) {
        KTable<Object, Object> from = all.table(node.text("from"));
        KTable<Object, Object> with = all.table(node.text("with"));
        Materialized<Object, Object, KeyValueStore<Bytes, byte[]>> store = Tables.store(node);
        Named named = node.named();
        String kind = node.text("kind");
        if (store == null) {
            return switch (kind) {
                case "inner" ->
                    named == null ? from.join(with, joiner) : from.join(with, joiner, named);
                case "left" -> named == null
                    ? from.leftJoin(with, joiner) : from.leftJoin(with, joiner, named);
                case "outer" -> named == null
                    ? from.outerJoin(with, joiner) : from.outerJoin(with, joiner, named);
                default -> throw unknown(kind);
            };
        }
        return switch (kind) {
            case "inner" -> named == null
                ? from.join(with, joiner, store) : from.join(with, joiner, named, store);
            case "left" -> named == null
                ? from.leftJoin(with, joiner, store) : from.leftJoin(with, joiner, named, store);
            case "outer" -> named == null
                ? from.outerJoin(with, joiner, store) : from.outerJoin(with, joiner, named, store);
            default -> throw unknown(kind);
        };
    }

    private Object foreignKey(Node node, ValueJoiner<Object, Object, Object> joiner) {
        KTable<Object, Object> from = all.table(node.text("from"));
        KTable<Object, Object> with = all.table(node.text("with"));
        var extract = Functions.key(node.text("extract"));
        Materialized<Object, Object, KeyValueStore<Bytes, byte[]>> store = Tables.store(node);
        TableJoined<Object, Object> joined = node.has("name")
            ? TableJoined.as(node.text("name")) : TableJoined.with(null, null);
        String kind = node.text("kind");
        java.util.function.BiFunction<Object, Object, Object> key = extract::apply;
        return switch (kind) {
            case "inner" -> from.join(with, key, joiner, joined, store);
            case "left" -> from.leftJoin(with, key, joiner, joined, store);
            default -> throw unknown(kind);
        };
    }
}
