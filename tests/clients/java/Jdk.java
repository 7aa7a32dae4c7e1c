import java.net.URI;
import java.net.http.HttpClient;
import java.net.http.HttpRequest;
import java.net.http.HttpResponse;

/** Lists models and posts a message with the JDK's own client, as it comes: it offers h2c. */
class Jdk {
    public static void main(String[] arguments) throws Exception {
        HttpClient client = HttpClient.newHttpClient();
        print(client, request(arguments, "/v1/models").GET());
        print(client, request(arguments, "/v1/messages")
                .header("content-type", "application/json")
                .POST(HttpRequest.BodyPublishers.ofString(arguments[2])));
    }

    static HttpRequest.Builder request(String[] arguments, String path) {
        return HttpRequest.newBuilder(URI.create(arguments[0] + path))
                .header("x-api-key", arguments[1]);
    }

    static void print(HttpClient client, HttpRequest.Builder request) throws Exception {
        HttpResponse<String> response =
                client.send(request.build(), HttpResponse.BodyHandlers.ofString());
        System.out.println(response.statusCode() + " " + response.body());
    }
}
