package tidemill.golden;

import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;
import java.util.Locale;
import java.util.function.BiFunction;
import org.apache.kafka.streams.KeyValue;
import org.apache.kafka.streams.kstream.Aggregator;
import org.apache.kafka.streams.kstream.Initializer;
import org.apache.kafka.streams.kstream.KeyValueMapper;
import org.apache.kafka.streams.kstream.Merger;
import org.apache.kafka.streams.kstream.Predicate;
import org.apache.kafka.streams.kstream.Reducer;
import org.apache.kafka.streams.kstream.ValueJoiner;
import org.apache.kafka.streams.kstream.Windowed;

/**
 * The closed set of functions that a scenario can name. `functions.rs` has the same ones; they are
 * described in the README of the scenarios.
 */
final class Functions {
    private Functions() {}

    static String text(Object value) {
        if (value instanceof Windowed<?> windowed) {
            return text(windowed.key()) + "@" + windowed.window().start() + "-"
                + windowed.window().end();
        }
        return value == null ? "null" : value.toString();
    }

    /** A number for any value: a number itself, the bytes of a text, 0 for null. */
    static long measure(Object value) {
        if (value == null) {
            return 0;
        }
        return value instanceof Long number ? number : Values.bytes(value).length;
    }

    private static boolean isEven(Object value) {
        return value != null && measure(value) % 2 == 0;
    }

    private static IllegalArgumentException unknown(String role, String name) {
        return new IllegalArgumentException("no " + role + " is called " + name);
    }

    static Predicate<Object, Object> predicate(String name) {
        return switch (name) {
            case "always" -> (k, v) -> true;
            case "never" -> (k, v) -> false;
            case "key_is_null" -> (k, v) -> k == null;
            case "value_is_null" -> (k, v) -> v == null;
            case "value_is_even" -> (k, v) -> isEven(v);
            case "value_is_large" -> (k, v) -> measure(v) > 3;
            case "key_begins_with_a" -> (k, v) -> text(k).startsWith("a");
            case "fail_on_bad" -> (k, v) -> failOnBad(v) != null;
            default -> throw unknown("predicate", name);
        };
    }

    static Object failOnBad(Object value) {
        if (text(value).equals("bad")) {
            throw new IllegalStateException("a bad value");
        }
        return value;
    }

    static BiFunction<Object, Object, Object> value(String name) {
        return switch (name) {
            case "same" -> (k, v) -> v;
            case "null" -> (k, v) -> null;
            case "upper" -> (k, v) ->
                v instanceof String text ? text.toUpperCase(Locale.ROOT) : v;
            case "length" -> (k, v) -> measure(v);
            case "twice" -> (k, v) -> v == null ? null : (Object) (2 * measure(v));
            case "with_key" -> (k, v) -> text(v) + "@" + text(k);
            case "text" -> (k, v) -> text(v);
            case "null_if_even" -> (k, v) -> isEven(v) ? null : v;
            case "fail_on_bad" -> (k, v) -> failOnBad(v);
            default -> throw unknown("value mapper", name);
        };
    }

    private static List<Object> words(Object value) {
        return value == null ? List.of() : new ArrayList<>(List.of(text(value).split(" ")));
    }

    static BiFunction<Object, Object, Iterable<Object>> values(String name) {
        return switch (name) {
            case "none" -> (k, v) -> List.of();
            case "words" -> (k, v) -> words(v);
            case "two" -> (k, v) -> Arrays.asList(v, v);
            case "value_and_null" -> (k, v) -> Arrays.asList(v, null);
            case "upper_and_key" -> (k, v) -> Arrays.asList(value("upper").apply(k, v), text(k));
            default -> throw unknown("mapper to values", name);
        };
    }

    static KeyValueMapper<Object, Object, KeyValue<Object, Object>> pair(String name) {
        return switch (name) {
            case "same" -> KeyValue::pair;
            case "swap" -> (k, v) -> KeyValue.pair(v, k);
            case "value_as_key" -> (k, v) -> KeyValue.pair(v, v);
            case "null_key" -> (k, v) -> KeyValue.pair(null, v);
            case "null_value" -> (k, v) -> KeyValue.pair(k, null);
            case "text_and_length" -> (k, v) -> KeyValue.pair(text(v), measure(k));
            case "fail_on_bad" -> (k, v) -> KeyValue.pair(k, failOnBad(v));
            default -> throw unknown("mapper to a pair", name);
        };
    }

    static KeyValueMapper<Object, Object, Iterable<KeyValue<Object, Object>>> pairs(String name) {
        return switch (name) {
            case "none" -> (k, v) -> List.of();
            case "two" -> (k, v) -> List.of(KeyValue.pair(k, v), KeyValue.pair(k, v));
            case "both_ways" -> (k, v) -> List.of(KeyValue.pair(k, v), KeyValue.pair(v, k));
            case "words_as_keys" -> (k, v) ->
                words(v).stream().map(word -> KeyValue.pair(word, v)).toList();
            default -> throw unknown("mapper to pairs", name);
        };
    }

    /** For select_key, group_by and the keys of other tables. */
    static KeyValueMapper<Object, Object, Object> key(String name) {
        return switch (name) {
            case "same" -> (k, v) -> k;
            case "null" -> (k, v) -> null;
            case "value" -> (k, v) -> v;
            case "first_letter" -> (k, v) ->
                v == null ? null : text(v).substring(0, Math.min(1, text(v).length()));
            case "length" -> (k, v) -> v == null ? null : (Object) measure(v);
            case "null_if_even" -> (k, v) -> isEven(v) ? null : k;
            case "text" -> (k, v) -> text(k);
            case "fail_on_bad" -> (k, v) -> failOnBad(v) == null ? null : k;
            default -> throw unknown("key selector", name);
        };
    }

    static Reducer<Object> reducer(String name) {
        return switch (name) {
            case "add" -> (a, b) -> measure(a) + measure(b);
            case "subtract" -> (a, b) -> measure(a) - measure(b);
            case "concat" -> (a, b) -> text(a) + "+" + text(b);
            case "concat_minus" -> (a, b) -> text(a) + "-" + text(b);
            case "latest" -> (a, b) -> b;
            case "first" -> (a, b) -> a;
            case "largest" -> (a, b) -> measure(b) > measure(a) ? b : a;
            case "null_if_equal" -> (a, b) -> a.equals(b) ? null : b;
            case "fail_on_bad" -> (a, b) -> failOnBad(b);
            default -> throw unknown("reducer", name);
        };
    }

    static Initializer<Object> initializer(String name) {
        return switch (name) {
            case "zero" -> () -> 0L;
            case "hundred" -> () -> 100L;
            case "empty" -> () -> "";
            case "nil" -> () -> "nil";
            default -> throw unknown("initializer", name);
        };
    }

    static Aggregator<Object, Object, Object> aggregator(String name) {
        return switch (name) {
            case "sum" -> (k, v, total) -> measure(total) + measure(v);
            case "subtract" -> (k, v, total) -> measure(total) - measure(v);
            case "count" -> (k, v, total) -> measure(total) + 1;
            case "concat" -> (k, v, total) -> text(total) + "+" + text(v);
            case "concat_minus" -> (k, v, total) -> text(total) + "-" + text(v);
            case "key_and_value" -> (k, v, total) -> text(total) + text(k) + text(v);
            case "latest" -> (k, v, total) -> v;
            case "same" -> (k, v, total) -> total;
            case "sum_null_on_zero" -> (k, v, total) ->
                measure(v) == 0 ? null : (Object) (measure(total) + measure(v));
            case "fail_on_bad" -> (k, v, total) -> failOnBad(v);
            default -> throw unknown("aggregator", name);
        };
    }

    static Merger<Object, Object> merger(String name) {
        return switch (name) {
            case "add" -> (k, a, b) -> measure(a) + measure(b);
            case "concat" -> (k, a, b) -> text(a) + "|" + text(b);
            default -> throw unknown("merger", name);
        };
    }

    static ValueJoiner<Object, Object, Object> joiner(String name) {
        return switch (name) {
            case "concat" -> (a, b) -> text(a) + "/" + text(b);
            case "add" -> (a, b) -> measure(a) + measure(b);
            case "left" -> (a, b) -> a;
            case "right" -> (a, b) -> b;
            case "null" -> (a, b) -> null;
            case "null_if_equal" -> (a, b) -> text(a).equals(text(b)) ? null : text(a) + text(b);
            default -> throw unknown("joiner", name);
        };
    }
}
