package tidemill.golden;

import com.fasterxml.jackson.databind.ObjectMapper;
import com.fasterxml.jackson.databind.node.ArrayNode;
import com.fasterxml.jackson.databind.node.JsonNodeFactory;
import com.fasterxml.jackson.databind.node.ObjectNode;
import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;
import java.util.Random;
import java.util.function.Supplier;

/** Scenarios of two to six random operators on random records; the number of one is its seed. */
final class RandomScenarios {
    private static final ObjectMapper JSON = new ObjectMapper();
    private static final String STRING = "string";
    private static final String LONG = "long";
    /** Where a stream comes from: the changes of tables have types of their own in Tidemill. */
    private enum Kind { PLAIN, CHANGES, COUNTS }

    private record Stream(String id, String key, String value, Kind kind) {
        Stream of(String id, String key, String value) {
            return new Stream(id, key, value, Kind.PLAIN);
        }

        Stream sibling(String id) {
            return new Stream(id, key, value, kind);
        }
    }

    private final Random random;
    private final ArrayNode topology = JsonNodeFactory.instance.arrayNode();
    private final List<Stream> streams = new ArrayList<>();
    private final List<Stream> leaves = new ArrayList<>();
    private final List<ObjectNode> sources = new ArrayList<>();
    private int ids;

    private RandomScenarios(long seed) {
        // neighbouring seeds begin alike
        random = new Random(seed * 0x9E3779B97F4A7C15L);
    }

    static void write(Path folder, int count) throws IOException {
        Files.createDirectories(folder);
        for (int seed = 1; seed <= count; seed++) {
            String text = new RandomScenarios(seed).scenario(seed);
            Files.writeString(folder.resolve(String.format("%03d.json", seed)), text);
        }
    }

    private String scenario(int seed) {
        for (int i = 0; i <= random.nextInt(2); i++) {
            source(i);
        }
        int depth = 2 + random.nextInt(5);
        for (int i = 0; i < depth; i++) {
            List<Stream> from = random.nextInt(3) == 0 || leaves.isEmpty() ? streams : leaves;
            operator(from.get(random.nextInt(from.size())));
        }
        for (Stream leaf : List.copyOf(leaves)) {
            ObjectNode sink = node("to", null, leaf);
            sink.put("topic", "out-" + leaf.id).put("key", leaf.key).put("value", leaf.value);
        }
        List<String> steps = new ArrayList<>();
        long time = 0;
        for (int i = 10 + random.nextInt(15); i > 0; i--) {
            time = Math.max(0, time + random.nextInt(30) - 8);
            steps.add(step(time).toString());
        }
        List<String> operators = new ArrayList<>();
        topology.forEach(operator -> operators.add(operator.toString()));
        return "{\n  \"about\": \"random operators, seed " + seed + "\",\n  \"topology\": [\n    "
            + String.join(",\n    ", operators) + "\n  ],\n  \"steps\": [\n    "
            + String.join(",\n    ", steps) + "\n  ]\n}\n";
    }

    @SafeVarargs
    private <T> T one(T... of) {
        return of[random.nextInt(of.length)];
    }

    private boolean chance(int percent) {
        return random.nextInt(100) < percent;
    }

    private String type() {
        return chance(60) ? STRING : LONG;
    }

    private void source(int number) {
        ObjectNode node = JSON.createObjectNode();
        Stream stream = new Stream("s" + number, chance(80) ? STRING : LONG, type(), Kind.PLAIN);
        node.put("id", stream.id).put("op", "stream").put("topic", "in-" + number);
        node.put("key", stream.key).put("value", stream.value);
        topology.add(node);
        sources.add(node);
        streams.add(stream);
        leaves.add(stream);
    }

    private ObjectNode step(long time) {
        ObjectNode step = JSON.createObjectNode();
        if (chance(5)) {
            return step.put("advance", 1 + random.nextInt(20));
        }
        ObjectNode source = sources.get(random.nextInt(sources.size()));
        step.put("topic", source.get("topic").textValue());
        datum(step, "key", source.get("key").textValue(), 10, "a", "b", "ab", "c");
        datum(step, "value", source.get("value").textValue(), 12,
            "x", "yy", "abcd", "", "a b", "b a b", "hello world");
        step.put("at", time);
        if (chance(20)) {
            step.putArray("headers").addArray().add("h").add(one("", "1", "%00%ff"));
        }
        return step;
    }

    private void datum(ObjectNode step, String field, String type, int nulls, String... texts) {
        if (chance(nulls)) {
            step.putNull(field);
        } else if (type.equals(LONG)) {
            step.put(field, (long) random.nextInt(7) - 1);
        } else {
            step.put(field, one(texts));
        }
    }

    /** Adds an operator's node; a stream that something is attached to is no leaf any more. */
    private ObjectNode node(String op, String id, Stream from) {
        ObjectNode node = JSON.createObjectNode();
        if (id != null) {
            node.put("id", id);
        }
        node.put("op", op);
        node.put("from", from.id);
        topology.add(node);
        leaves.remove(from);
        return node;
    }

    private String id() {
        ids++;
        return "n" + ids;
    }

    private void made(Stream stream) {
        streams.add(stream);
        leaves.add(stream);
    }

    /** Names some operators. */
    private void named(ObjectNode node) {
        if (chance(25)) {
            node.put("name", "name-" + ids);
        }
    }

    private void operator(Stream from) {
        List<Supplier<Boolean>> operators = List.of(
            () -> filter(from), () -> mapValues(from), () -> flatMapValues(from), () -> map(from),
            () -> flatMap(from), () -> selectKey(from), () -> merge(from), () -> split(from),
            () -> repartition(from), () -> process(from), () -> aggregation(from),
            () -> aggregation(from), () -> aggregation(from), () -> windows(from),
            () -> windows(from), () -> windows(from));
        while (!operators.get(random.nextInt(operators.size())).get()) {
            // that one did not fit: another one
        }
    }

    private boolean filter(Stream from) {
        String id = id();
        ObjectNode node = node(one("filter", "filter_not", "peek"), id, from);
        if (!node.get("op").textValue().equals("peek")) {
            node.put("fn", one("always", "key_is_null", "value_is_null", "value_is_even",
                "value_is_large", "key_begins_with_a"));
        }
        named(node);
        made(from.sibling(id));
        return true;
    }

    private boolean mapValues(Stream from) {
        String id = id();
        String fn = one("same", "upper", "length", "twice", "with_key", "text", "null_if_even");
        boolean withKey = fn.equals("with_key");
        ObjectNode node = node(withKey ? "map_values_with_key" : "map_values", id, from);
        named(node.put("fn", fn));
        made(from.of(id, from.key, switch (fn) {
            case "length", "twice" -> LONG;
            case "with_key", "text" -> STRING;
            default -> from.value;
        }));
        return true;
    }

    private boolean flatMapValues(Stream from) {
        String fn = one("two", "words", "value_and_null", "none");
        String id = id();
        named(node("flat_map_values", id, from).put("fn", fn));
        made(from.of(id, from.key, fn.equals("words") ? STRING : from.value));
        return true;
    }

    private boolean map(Stream from) {
        String fn = one(
            "same", "swap", "value_as_key", "null_key", "null_value", "text_and_length");
        String id = id();
        named(node("map", id, from).put("fn", fn));
        made(switch (fn) {
            case "swap" -> from.of(id, from.value, from.key);
            case "value_as_key" -> from.of(id, from.value, from.value);
            case "text_and_length" -> from.of(id, STRING, LONG);
            default -> from.of(id, from.key, from.value);
        });
        return true;
    }

    private boolean flatMap(Stream from) {
        String fn = one("two", "both_ways", "words_as_keys");
        if (fn.equals("both_ways") && !from.key.equals(from.value)) {
            return false;
        }
        String id = id();
        named(node("flat_map", id, from).put("fn", fn));
        made(from.of(id, fn.equals("words_as_keys") ? STRING : from.key, from.value));
        return true;
    }

    private String keyFunction(Stream from) {
        return one("same", "value", "first_letter", "length", "null_if_even", "text");
    }

    private String keyType(Stream from, String fn) {
        return switch (fn) {
            case "value" -> from.value;
            case "first_letter", "text" -> STRING;
            case "length" -> LONG;
            default -> from.key;
        };
    }

    private boolean selectKey(Stream from) {
        String fn = keyFunction(from);
        String id = id();
        named(node("select_key", id, from).put("fn", fn));
        made(new Stream(id, keyType(from, fn), from.value, from.kind));
        return true;
    }

    private boolean merge(Stream from) {
        List<Stream> others = streams.stream().filter(other -> other != from
            && other.key.equals(from.key) && other.value.equals(from.value)
            && other.kind == from.kind).toList();
        if (others.isEmpty()) {
            return false;
        }
        Stream other = others.get(random.nextInt(others.size()));
        String id = id();
        named(node("merge", id, from).put("with", other.id));
        leaves.remove(other);
        made(from.sibling(id));
        return true;
    }

    private boolean split(Stream from) {
        ObjectNode node = node("split", null, from);
        ArrayNode branches = node.putArray("branches");
        for (int i = 0; i <= random.nextInt(2); i++) {
            String id = id();
            branches.addObject().put("id", id)
                .put("fn", one("value_is_even", "value_is_large", "key_begins_with_a"));
            made(from.sibling(id));
        }
        if (chance(60)) {
            String id = id();
            node.putObject("default").put("id", id);
            made(from.sibling(id));
        }
        return true;
    }

    private boolean repartition(Stream from) {
        String id = id();
        ObjectNode node = node("repartition", id, from).put("key", from.key)
            .put("value", from.value);
        named(node);
        made(from.sibling(id));
        return true;
    }

    private boolean process(Stream from) {
        String id = id();
        boolean fixed = chance(50);
        ObjectNode node = node(fixed ? "process_values" : "process", id, from);
        boolean ticks = !fixed && from.key.equals(STRING) && from.value.equals(STRING);
        if (ticks && chance(60)) {
            node.put("processor", one("tick_stream_time", "tick_wall_clock")).put("interval", 10);
        } else {
            node.put("processor", one("forward", "forward_twice", "drop_even", "mark", "later"));
        }
        named(node);
        made(from.of(id, from.key, from.value));
        return true;
    }

    private boolean aggregation(Stream from) {
        String op = one("count", "reduce", "aggregate");
        if (op.equals("reduce") && from.kind != Kind.PLAIN) {
            return false;
        }
        String groupId = id();
        String key = from.key;
        ObjectNode group;
        if (chance(50)) {
            group = node("group_by_key", groupId, from);
        } else {
            String fn = keyFunction(from);
            key = keyType(from, fn);
            group = node("group_by", groupId, from).put("fn", fn);
        }
        named(group.put("key", key).put("value", from.value));
        String tableId = id();
        ObjectNode table = node(op, tableId, from.sibling(groupId));
        ObjectNode store = JSON.createObjectNode();
        if (chance(50)) {
            store.put("name", "store-" + ids);
        }
        String value = aggregated(op, from, table, store);
        if (chance(40)) {
            store.put("caching", chance(30));
        }
        if (!store.isEmpty()) {
            table.set("store", store);
        }
        named(table);
        String id = id();
        named(node("to_stream", id, from.sibling(tableId)));
        made(new Stream(id, key, value, op.equals("count") ? Kind.COUNTS : Kind.CHANGES));
        return true;
    }

    /**
     * Windows, whose results are written at once or go on with the text of their key. Their grace
     * is such that nothing is late but for tumbling and hopping windows, and final results are only
     * asked for where Kafka Streams does not lose them: see the README.
     */
    private boolean windows(Stream from) {
        if (from.kind != Kind.PLAIN || !from.key.equals(STRING)) {
            return false;
        }
        String op = one("count", "reduce", "aggregate");
        String groupId = id();
        named(node("group_by_key", groupId, from).put("key", STRING).put("value", from.value));
        String windowId = id();
        ObjectNode windowed = node("windowed_by", windowId, from.sibling(groupId));
        String kind = one("tumbling", "hopping", "sliding", "session");
        ObjectNode window = windowed.putObject("window").put("kind", kind);
        long size = kind.equals("sliding") ? 50L : one(10L, 20L);
        boolean aligned = kind.equals("tumbling") || kind.equals("hopping");
        window.put(aligned ? "size" : kind.equals("sliding") ? "difference" : "gap", size);
        if (kind.equals("hopping")) {
            window.put("advance", (long) one(3, 5));
        }
        window.put("grace", aligned ? (long) one(0, 5, 20) : 80L);
        boolean close = chance(30);
        if (close) {
            windowed.put("emit", "close");
        }
        String tableId = id();
        ObjectNode table = node(op, tableId, from.sibling(windowId));
        ObjectNode store = JSON.createObjectNode();
        if (chance(50)) {
            store.put("name", "store-" + ids);
        }
        String value = aggregated(op, from, table, store);
        if (op.equals("aggregate") && kind.equals("session")) {
            table.put("merge", value.equals(LONG) ? "add" : "concat");
        }
        if (!close && chance(40)) {
            store.put("caching", chance(30));
        }
        if (!store.isEmpty()) {
            table.set("store", store);
        }
        named(table);
        String id = id();
        ObjectNode changes = node("to_stream", id, from.sibling(tableId));
        if (chance(50)) {
            changes.put("fn", "text");
            made(new Stream(id, STRING, value, op.equals("count") ? Kind.COUNTS : Kind.CHANGES));
            return true;
        }
        ObjectNode sink = node("to", null, from.sibling(id)).put("topic", "out-" + id);
        sink.put("key", (kind.equals("session") ? "session" : "time") + "_windowed_string");
        sink.put("value", value);
        if (!kind.equals("session")) {
            sink.put("window_size", size);
        }
        return true;
    }

    /** Chooses functions; returns the type of the result. */
    private String aggregated(String op, Stream from, ObjectNode table, ObjectNode store) {
        if (op.equals("count")) {
            return LONG;
        }
        if (op.equals("reduce")) {
            table.put("fn", from.value.equals(LONG)
                ? one("add", "subtract", "latest", "largest", "null_if_equal")
                : one("concat", "latest", "first", "largest", "null_if_equal"));
            return from.value;
        }
        String value = type();
        table.put("init", value.equals(LONG) ? one("zero", "hundred") : one("empty", "nil"));
        table.put("fn", value.equals(LONG) ? one("sum", "subtract", "count", "sum_null_on_zero")
            : one("concat", "key_and_value", "same"));
        store.put("value", value);
        return value;
    }
}
