import java.net.URI;
import java.net.http.HttpClient;
import java.net.http.HttpRequest;
import java.net.http.HttpResponse;

/** Posts a message with the JDK's own client, as it comes: over HTTP it offers h2c. */
class Jdk {
    public static void main(String[] arguments) throws Exception {
        HttpRequest request = HttpRequest.newBuilder(URI.create(arguments[0]))
                .header("x-api-key", arguments[1])
                .header("content-type", "application/json")
                .POST(HttpRequest.BodyPublishers.ofString(arguments[2]))
                .build();
        HttpResponse<String> response =
                HttpClient.newHttpClient().send(request, HttpResponse.BodyHandlers.ofString());
        System.out.println(response.statusCode() + " " + response.body());
    }
}
