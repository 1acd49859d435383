package tidemill.golden;

import java.time.Duration;
import java.util.ArrayList;
import java.util.LinkedHashSet;
import java.util.List;
import java.util.Map;
import java.util.Set;
import org.apache.kafka.common.header.Headers;
import org.apache.kafka.common.header.internals.RecordHeaders;
import org.apache.kafka.streams.KeyValue;
import org.apache.kafka.streams.kstream.KStream;
import org.apache.kafka.streams.kstream.Named;
import org.apache.kafka.streams.processor.Cancellable;
import org.apache.kafka.streams.processor.PunctuationType;
import org.apache.kafka.streams.processor.api.ContextualFixedKeyProcessor;
import org.apache.kafka.streams.processor.api.ContextualProcessor;
import org.apache.kafka.streams.processor.api.FixedKeyProcessor;
import org.apache.kafka.streams.processor.api.FixedKeyProcessorSupplier;
import org.apache.kafka.streams.processor.api.FixedKeyRecord;
import org.apache.kafka.streams.processor.api.Processor;
import org.apache.kafka.streams.processor.api.ProcessorContext;
import org.apache.kafka.streams.processor.api.ProcessorSupplier;
import org.apache.kafka.streams.processor.api.Record;
import org.apache.kafka.streams.state.KeyValueIterator;
import org.apache.kafka.streams.state.KeyValueStore;
import org.apache.kafka.streams.state.StoreBuilder;
import org.apache.kafka.streams.state.Stores;

/** The closed set of processors that a scenario can name. `processors.rs` has the same ones. */
final class Processors {
    private Processors() {}

    static Object add(String op, Node node, KStream<Object, Object> from,
            Map<String, StoreBuilder<?>> known) {
        String kind = node.text("processor");
        String[] stores = node.texts("stores").toArray(String[]::new);
        Duration interval = Duration.ofMillis(node.number("interval", 1));
        Named named = node.named();
        Set<StoreBuilder<?>> brought = new LinkedHashSet<>();
        List<String> used = new ArrayList<>(List.of(stores));
        for (Node store : node.children("brings")) {
            used.add(store.text("name"));
            brought.add(known.computeIfAbsent(store.text("name"), name ->
                Stores.keyValueStoreBuilder(Stores.persistentKeyValueStore(name),
                    store.serde("key"), store.serde("value"))));
            store.serde("key");
            store.serde("value");
        }
        String[] all = used.toArray(String[]::new);
        Set<StoreBuilder<?>> bring = brought.isEmpty() ? null : brought;
        if (op.equals("process")) {
            ProcessorSupplier<Object, Object, Object, Object> supplier = new ProcessorSupplier<>() {
                @Override
                public Processor<Object, Object, Object, Object> get() {
                    return new Free(kind, all, interval);
                }

                @Override
                public Set<StoreBuilder<?>> stores() {
                    return bring;
                }
            };
            return named == null
                ? from.process(supplier, stores) : from.process(supplier, named, stores);
        }
        FixedKeyProcessorSupplier<Object, Object, Object> supplier =
            new FixedKeyProcessorSupplier<>() {
                @Override
                public FixedKeyProcessor<Object, Object, Object> get() {
                    return new Fixed(kind, all);
                }

                @Override
                public Set<StoreBuilder<?>> stores() {
                    return bring;
                }
            };
        return named == null
            ? from.processValues(supplier, stores) : from.processValues(supplier, named, stores);
    }

    private static Headers marked(Headers headers) {
        return new RecordHeaders(headers).add("seen", new byte[] {'1'});
    }

    private static final class Free extends ContextualProcessor<Object, Object, Object, Object> {
        private final String kind;
        private final String[] stores;
        private final Duration interval;
        private KeyValueStore<Object, Object> store;
        private Cancellable punctuation;
        private int punctuations;

        Free(String kind, String[] stores, Duration interval) {
            this.kind = kind;
            this.stores = stores;
            this.interval = interval;
        }

        @Override
        public void init(ProcessorContext<Object, Object> context) {
            super.init(context);
            if (stores.length > 0) {
                store = context.getStateStore(stores[0]);
            }
            PunctuationType type = kind.endsWith("_wall_clock")
                ? PunctuationType.WALL_CLOCK_TIME : PunctuationType.STREAM_TIME;
            switch (kind) {
                case "tick_stream_time", "tick_wall_clock" ->
                    context.schedule(interval, type, this::tick);
                case "two_ticks_stream_time", "two_ticks_wall_clock" ->
                    punctuation = context.schedule(interval, type, this::tickTwice);
                case "drain_stream_time", "drain_wall_clock" ->
                    context.schedule(interval, type, this::drain);
                default -> { }
            }
        }

        private void tick(long at) {
            context().forward(new Record<>("tick", Long.toString(at), at));
        }

        private void tickTwice(long at) {
            tick(at);
            punctuations++;
            if (punctuations == 2) {
                punctuation.cancel();
            }
        }

        private void drain(long at) {
            for (KeyValue<Object, Object> entry : entries()) {
                context().forward(new Record<>(entry.key, entry.value, at));
                store.delete(entry.key);
            }
        }

        private List<KeyValue<Object, Object>> entries() {
            try (KeyValueIterator<Object, Object> all = store.all()) {
                List<KeyValue<Object, Object>> entries = new java.util.ArrayList<>();
                all.forEachRemaining(entries::add);
                return entries;
            }
        }

        @Override
        public void process(Record<Object, Object> record) {
            switch (kind) {
                case "forward_twice" -> {
                    context().forward(record);
                    context().forward(record);
                }
                case "drop_even" -> {
                    if (Functions.predicate("value_is_even").test(record.key(), record.value())) {
                        return;
                    }
                    context().forward(record);
                }
                case "swap" ->
                    context().forward(record.withKey(record.value()).withValue(record.key()));
                case "mark" -> context().forward(record.withHeaders(marked(record.headers())));
                case "later" -> context().forward(record.withTimestamp(record.timestamp() + 100));
                case "fail_on_bad" -> context().forward(record.withValue(
                    Functions.value("fail_on_bad").apply(record.key(), record.value())));
                case "count" -> {
                    Object before = store.get(record.key());
                    Object count = Functions.measure(before) + 1;
                    store.put(record.key(), count);
                    context().forward(record.withValue(count));
                }
                case "before" -> {
                    Object before = store.get(record.key());
                    store.put(record.key(), record.value());
                    context().forward(record.withValue(before));
                }
                case "first" -> {
                    Object before = store.putIfAbsent(record.key(), record.value());
                    context().forward(record.withValue(before));
                }
                case "delete" -> context().forward(record.withValue(store.delete(record.key())));
                case "scan" -> {
                    store.put(record.key(), record.value());
                    for (KeyValue<Object, Object> entry : entries()) {
                        context().forward(record.withKey(entry.key).withValue(entry.value));
                    }
                }
                case "range_b_to_d" -> {
                    store.put(record.key(), record.value());
                    try (KeyValueIterator<Object, Object> range = store.range("b", "d")) {
                        range.forEachRemaining(entry -> context().forward(
                            record.withKey(entry.key).withValue(entry.value)));
                    }
                }
                case "drain_stream_time", "drain_wall_clock" ->
                    store.put(record.key(), record.value());
                case "forward", "tick_stream_time", "tick_wall_clock", "two_ticks_stream_time",
                    "two_ticks_wall_clock" -> context().forward(record);
                default -> throw new IllegalArgumentException("no processor is called " + kind);
            }
        }
    }

    private static final class Fixed extends ContextualFixedKeyProcessor<Object, Object, Object> {
        private final String kind;
        private final String[] stores;

        Fixed(String kind, String[] stores) {
            this.kind = kind;
            this.stores = stores;
        }

        @Override
        public void process(FixedKeyRecord<Object, Object> record) {
            switch (kind) {
                case "forward" -> context().forward(record);
                case "forward_twice" -> {
                    context().forward(record);
                    context().forward(record);
                }
                case "drop_even" -> {
                    if (!Functions.predicate("value_is_even").test(record.key(), record.value())) {
                        context().forward(record);
                    }
                }
                case "mark" -> context().forward(record.withHeaders(marked(record.headers())));
                case "later" -> context().forward(record.withTimestamp(record.timestamp() + 100));
                case "count" -> {
                    KeyValueStore<Object, Object> store = context().getStateStore(stores[0]);
                    Object count = Functions.measure(store.get(record.key())) + 1;
                    store.put(record.key(), count);
                    context().forward(record.withValue(count));
                }
                default -> throw new IllegalArgumentException("no processor is called " + kind);
            }
        }
    }
}
