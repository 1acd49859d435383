package tidemill.golden;

import java.time.Instant;
import org.apache.kafka.common.utils.Bytes;
import org.apache.kafka.streams.kstream.CogroupedKStream;
import org.apache.kafka.streams.kstream.EmitStrategy;
import org.apache.kafka.streams.kstream.KGroupedStream;
import org.apache.kafka.streams.kstream.Materialized;
import org.apache.kafka.streams.kstream.Named;
import org.apache.kafka.streams.kstream.SessionWindowedCogroupedKStream;
import org.apache.kafka.streams.kstream.SessionWindowedKStream;
import org.apache.kafka.streams.kstream.SessionWindows;
import org.apache.kafka.streams.kstream.SlidingWindows;
import org.apache.kafka.streams.kstream.TimeWindowedCogroupedKStream;
import org.apache.kafka.streams.kstream.TimeWindowedKStream;
import org.apache.kafka.streams.kstream.TimeWindows;
import org.apache.kafka.streams.kstream.UnlimitedWindows;
import org.apache.kafka.streams.state.KeyValueStore;
import org.apache.kafka.streams.state.SessionStore;
import org.apache.kafka.streams.state.WindowStore;

/** Windows, and streams that are aggregated together. */
final class Windowing {
    private final Builder all;

    Windowing(Builder all) {
        this.all = all;
    }

    private static TimeWindows timeWindows(Node window) {
        TimeWindows windows =
            TimeWindows.ofSizeAndGrace(window.duration("size"), window.duration("grace"));
        return window.has("advance") ? windows.advanceBy(window.duration("advance")) : windows;
    }

    private static UnlimitedWindows unlimitedWindows(Node window) {
        return UnlimitedWindows.of().startOn(Instant.EPOCH.plus(window.duration("start")));
    }

    private static SlidingWindows slidingWindows(Node window) {
        return SlidingWindows.ofTimeDifferenceAndGrace(
            window.duration("difference"), window.duration("grace"));
    }

    private static SessionWindows sessionWindows(Node window) {
        return SessionWindows.ofInactivityGapAndGrace(
            window.duration("gap"), window.duration("grace"));
    }

    @SuppressWarnings("unchecked")
    Object windowed(Node node) {
        Object from = all.get(node.text("from"));
        Node window = node.child("window");
        String kind = window.text("kind");
        if (from instanceof CogroupedKStream<?, ?> cogrouped) {
            return switch (kind) {
                case "tumbling", "hopping" -> cogrouped.windowedBy(timeWindows(window));
                case "sliding" -> cogrouped.windowedBy(slidingWindows(window));
                case "session" -> cogrouped.windowedBy(sessionWindows(window));
                default -> throw new IllegalArgumentException("no window is called " + kind);
            };
        }
        KGroupedStream<Object, Object> grouped = (KGroupedStream<Object, Object>) from;
        EmitStrategy emit = node.text("emit", "update").equals("close")
            ? EmitStrategy.onWindowClose() : EmitStrategy.onWindowUpdate();
        return switch (kind) {
            case "tumbling", "hopping" ->
                grouped.windowedBy(timeWindows(window)).emitStrategy(emit);
            case "unlimited" ->
                grouped.windowedBy(unlimitedWindows(window)).emitStrategy(emit);
            case "sliding" -> grouped.windowedBy(slidingWindows(window)).emitStrategy(emit);
            case "session" -> grouped.windowedBy(sessionWindows(window)).emitStrategy(emit);
            default -> throw new IllegalArgumentException("no window is called " + kind);
        };
    }

    Object ofWindows(String op, Node node, TimeWindowedKStream<Object, Object> windowed) {
        Materialized<Object, Object, WindowStore<Bytes, byte[]>> store = Tables.store(node);
        Named named = node.named();
        if (op.equals("count")) {
            if (store == null) {
                return named == null ? windowed.count() : windowed.count(named);
            }
            Materialized<Object, Long, WindowStore<Bytes, byte[]>> counts = Counts.of(store);
            return named == null ? windowed.count(counts) : windowed.count(named, counts);
        }
        if (op.equals("reduce")) {
            var reducer = Functions.reducer(node.text("fn"));
            if (store == null) {
                return named == null ? windowed.reduce(reducer) : windowed.reduce(reducer, named);
            }
            return named == null
                ? windowed.reduce(reducer, store) : windowed.reduce(reducer, named, store);
        }
        var initializer = Functions.initializer(node.text("init"));
        var aggregator = Functions.aggregator(node.text("fn"));
        return named == null ? windowed.aggregate(initializer, aggregator, store)
            : windowed.aggregate(initializer, aggregator, named, store);
    }

    Object ofSessions(String op, Node node, SessionWindowedKStream<Object, Object> windowed) {
        Materialized<Object, Object, SessionStore<Bytes, byte[]>> store = Tables.store(node);
        Named named = node.named();
        if (op.equals("count")) {
            if (store == null) {
                return named == null ? windowed.count() : windowed.count(named);
            }
            Materialized<Object, Long, SessionStore<Bytes, byte[]>> counts = Counts.of(store);
            return named == null ? windowed.count(counts) : windowed.count(named, counts);
        }
        if (op.equals("reduce")) {
            var reducer = Functions.reducer(node.text("fn"));
            if (store == null) {
                return named == null ? windowed.reduce(reducer) : windowed.reduce(reducer, named);
            }
            return named == null
                ? windowed.reduce(reducer, store) : windowed.reduce(reducer, named, store);
        }
        var initializer = Functions.initializer(node.text("init"));
        var aggregator = Functions.aggregator(node.text("fn"));
        var merger = Functions.merger(node.text("merge"));
        return named == null ? windowed.aggregate(initializer, aggregator, merger, store)
            : windowed.aggregate(initializer, aggregator, merger, named, store);
    }

    @SuppressWarnings("unchecked")
    Object cogroup(Node node) {
        CogroupedKStream<Object, Object> cogrouped = null;
        for (Node stream : node.children("streams")) {
            KGroupedStream<Object, Object> grouped =
                (KGroupedStream<Object, Object>) all.get(stream.text("from"));
            var aggregator = Functions.aggregator(stream.text("fn"));
            cogrouped = cogrouped == null
                ? grouped.cogroup(aggregator) : cogrouped.cogroup(grouped, aggregator);
        }
        return cogrouped;
    }

    Object ofCogroup(Node node, CogroupedKStream<Object, Object> cogrouped) {
        Materialized<Object, Object, KeyValueStore<Bytes, byte[]>> store = Tables.store(node);
        Named named = node.named();
        var initializer = Functions.initializer(node.text("init"));
        return named == null ? cogrouped.aggregate(initializer, store)
            : cogrouped.aggregate(initializer, named, store);
    }

    Object ofCogroup(Node node, TimeWindowedCogroupedKStream<Object, Object> cogrouped) {
        Materialized<Object, Object, WindowStore<Bytes, byte[]>> store = Tables.store(node);
        Named named = node.named();
        var initializer = Functions.initializer(node.text("init"));
        return named == null ? cogrouped.aggregate(initializer, store)
            : cogrouped.aggregate(initializer, named, store);
    }

    Object ofCogroup(Node node, SessionWindowedCogroupedKStream<Object, Object> cogrouped) {
        Materialized<Object, Object, SessionStore<Bytes, byte[]>> store = Tables.store(node);
        Named named = node.named();
        var initializer = Functions.initializer(node.text("init"));
        var merger = Functions.merger(node.text("merge"));
        return named == null ? cogrouped.aggregate(initializer, merger, store)
            : cogrouped.aggregate(initializer, merger, named, store);
    }
}
