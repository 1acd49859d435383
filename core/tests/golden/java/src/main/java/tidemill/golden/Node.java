package tidemill.golden;

import com.fasterxml.jackson.databind.JsonNode;
import java.time.Duration;
import java.util.ArrayList;
import java.util.Collection;
import java.util.Collections;
import java.util.HashSet;
import java.util.List;
import java.util.Set;
import org.apache.kafka.common.serialization.Serde;
import org.apache.kafka.streams.kstream.Named;

/** One operator of a scenario; notes which of its fields were used, so that a typo is an error. */
final class Node {
    private final JsonNode json;
    private final Set<String> used = new HashSet<>();

    Node(JsonNode json) {
        this.json = json;
    }

    boolean has(String field) {
        used.add(field);
        return json.hasNonNull(field);
    }

    String text(String field) {
        if (!has(field) || !json.get(field).isTextual()) {
            throw new IllegalArgumentException("a text \"" + field + "\" is missing: " + json);
        }
        return json.get(field).textValue();
    }

    String text(String field, String otherwise) {
        return has(field) ? text(field) : otherwise;
    }

    long number(String field) {
        if (!has(field) || !json.get(field).isIntegralNumber()) {
            throw new IllegalArgumentException("a number \"" + field + "\" is missing: " + json);
        }
        return json.get(field).longValue();
    }

    long number(String field, long otherwise) {
        return has(field) ? number(field) : otherwise;
    }

    boolean flag(String field, boolean otherwise) {
        return has(field) ? json.get(field).booleanValue() : otherwise;
    }

    Duration duration(String field) {
        return Duration.ofMillis(number(field));
    }

    Node child(String field) {
        if (!has(field)) {
            throw new IllegalArgumentException("\"" + field + "\" is missing: " + json);
        }
        Node child = new Node(json.get(field));
        children.add(child);
        return child;
    }

    List<Node> children(String field) {
        has(field);
        List<Node> list = new ArrayList<>();
        json.path(field).forEach(child -> list.add(new Node(child)));
        children.addAll(list);
        return list;
    }

    List<String> texts(String field) {
        has(field);
        List<String> list = new ArrayList<>();
        json.path(field).forEach(text -> list.add(text.textValue()));
        return list;
    }

    private final Collection<Node> children = new ArrayList<>();

    Serde<Object> serde(String field) {
        return Values.serde(text(field, "string"), number("window_size", 0));
    }

    /** The name of the operator, or nothing where Kafka Streams is to make one up. */
    Named named() {
        return has("name") ? Named.as(text("name")) : null;
    }

    void checkAllUsed() {
        List<String> left = new ArrayList<>();
        json.fieldNames().forEachRemaining(left::add);
        left.removeAll(used);
        left.removeAll(Collections.singleton("about"));
        if (!left.isEmpty()) {
            throw new IllegalArgumentException("nothing reads " + left + ": " + json);
        }
        children.forEach(Node::checkAllUsed);
    }

    @Override
    public String toString() {
        return json.toString();
    }
}
