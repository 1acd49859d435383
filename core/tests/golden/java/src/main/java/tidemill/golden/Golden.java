package tidemill.golden;

import com.fasterxml.jackson.databind.JsonNode;
import com.fasterxml.jackson.databind.ObjectMapper;
import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.List;
import java.util.stream.Stream;

/**
 * Writes golden vectors.
 *
 * <pre>
 *   vectors SCENARIOS VECTORS [EVERY]  one vector for each scenario below a folder, or each n-th
 *   random FOLDER COUNT                random scenarios, the same ones each time
 * </pre>
 */
public final class Golden {
    private static final ObjectMapper JSON = new ObjectMapper();

    private Golden() {}

    public static void main(String[] arguments) throws IOException {
        switch (arguments[0]) {
            case "vectors" -> vectors(Path.of(arguments[1]), Path.of(arguments[2]),
                arguments.length > 3 ? Integer.parseInt(arguments[3]) : 1);
            case "random" ->
                RandomScenarios.write(Path.of(arguments[1]), Integer.parseInt(arguments[2]));
            default -> throw new IllegalArgumentException("vectors or random, not " + arguments[0]);
        }
    }

    private static void vectors(Path scenarios, Path vectors, int every) throws IOException {
        List<Path> files;
        try (Stream<Path> paths = Files.walk(scenarios)) {
            files = paths.filter(path -> path.toString().endsWith(".json")).sorted().toList();
        }
        int failed = 0;
        for (int i = 0; i < files.size(); i += every) {
            JsonNode scenario = JSON.readTree(files.get(i).toFile());
            Path target = vectors.resolve(scenarios.relativize(files.get(i)).toString());
            try {
                String text = Run.vector(scenario).toString();
                Files.createDirectories(target.getParent());
                Files.writeString(target, text);
            } catch (RuntimeException error) {
                failed++;
                System.err.println(files.get(i) + ": " + error);
                for (Throwable cause = error; cause != null; cause = cause.getCause()) {
                    System.err.println("    " + cause + " at " + cause.getStackTrace()[0]);
                }
            }
        }
        System.err.println(files.size() + " scenarios, " + failed + " are wrong");
        if (failed > 0) {
            System.exit(1);
        }
    }
}
