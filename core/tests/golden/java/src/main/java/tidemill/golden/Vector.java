package tidemill.golden;

import com.fasterxml.jackson.core.JsonProcessingException;
import com.fasterxml.jackson.databind.ObjectMapper;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;
import java.util.Map;
import java.util.TreeMap;
import java.util.stream.Collectors;

/** What came out of a scenario, as JSON with one record a line. */
final class Vector {
    private static final ObjectMapper JSON = new ObjectMapper();

    /** A record, header or entry: a list of texts, numbers and nulls. */
    static final class Line {
        private final List<String> cells = new ArrayList<>();

        Line text(String text) {
            cells.add(quoted(text));
            return this;
        }

        Line bytes(byte[] bytes) {
            cells.add(bytes == null ? "null" : quoted(Values.escape(bytes)));
            return this;
        }

        Line number(Long number) {
            cells.add(String.valueOf(number));
            return this;
        }

        Line lines(List<Line> lines) {
            cells.add(lines.stream().map(Line::toString)
                .collect(Collectors.joining(", ", "[", "]")));
            return this;
        }

        @Override
        public String toString() {
            return "[" + String.join(", ", cells) + "]";
        }
    }

    private final List<String> description;
    final List<TreeMap<String, List<Line>>> steps = new ArrayList<>();
    final TreeMap<String, List<Line>> stores = new TreeMap<>();
    /** The step after the last one failed, and with it the application. */
    boolean failed;

    Vector(String description) {
        this.description = Arrays.asList(description.split("\n", -1));
    }

    private static String quoted(String text) {
        try {
            return JSON.writeValueAsString(text);
        } catch (JsonProcessingException error) {
            throw new IllegalStateException(error);
        }
    }

    private static String list(String indent, List<String> items) {
        if (items.isEmpty()) {
            return "[]";
        }
        String separator = ",\n" + indent + "  ";
        return "[\n" + indent + "  " + String.join(separator, items) + "\n" + indent + "]";
    }

    private static String map(String indent, Map<String, List<Line>> map) {
        if (map.isEmpty()) {
            return "{}";
        }
        List<String> entries = new ArrayList<>();
        map.forEach((name, lines) -> entries.add(quoted(name) + ": "
            + list(indent + "  ", lines.stream().map(Line::toString).toList())));
        String separator = ",\n" + indent + "  ";
        return "{\n" + indent + "  " + String.join(separator, entries) + "\n" + indent + "}";
    }

    @Override
    public String toString() {
        return "{\n"
            + "  \"describe\": " + list("  ", description.stream().map(Vector::quoted).toList())
            + ",\n  \"steps\": "
            + list("  ", steps.stream().map(step -> map("    ", step)).toList())
            + ",\n  \"failed\": " + failed
            + ",\n  \"stores\": " + map("  ", stores)
            + "\n}\n";
    }
}
