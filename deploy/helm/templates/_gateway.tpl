{{/* What the manifests take from gateway.yaml, so that the two can't differ. Each takes the root. */}}

{{/* Return gateway.yaml as it is. */}}
{{- define "gateway.text" -}}
{{- .Values.gateway | default (.Files.Get "files/gateway.yaml") -}}
{{- end }}

{{/* Return gateway.yaml as data, with its sections, once it fits the chart. */}}
{{- define "gateway.data" -}}
{{- $data := include "gateway.text" . | fromYaml -}}
{{- with $data.Error }}{{ fail (printf "gateway: not valid YAML: %s" .) }}{{ end -}}
{{- $authz := $data.authz | default dict -}}
{{- $envoy := $data.envoy | default dict -}}
{{- if ne (int $authz.workers) 1 -}}
{{- fail "gateway: set authz.workers: 1. A Pod is one worker; for more, raise authz.replicas in the values" -}}
{{- end -}}
{{- if not $envoy.concurrency -}}
{{- fail "gateway: set envoy.concurrency, such as 2. Unset, Envoy starts a thread for each processor of the node" -}}
{{- end -}}
{{- if not $authz.tls -}}
{{- fail "gateway: set authz.tls to the files of /run/tls: Envoy and authz are in different Pods" -}}
{{- end -}}
{{- if not (kindIs "invalid" $data.proxy) -}}
{{- fail "gateway: remove proxy. authz makes the certificates of the proxy's hosts on its own disk, which Envoy's Pod does not have: run the proxy with `authz up`" -}}
{{- end -}}
{{- $service := include "chart.name" (dict "root" . "component" "authz") -}}
{{- range $key, $listener := dict "authz_grpc" "grpc" "authz_http" "envoy_http" -}}
{{- $port := include "gateway.port" (dict "key" (printf "authz.%s" $listener) "data" $data) -}}
{{- $pattern := printf "^%s(\\.%s(\\.svc(\\.[a-z0-9.-]+)?)?)?:%s$" $service $.Release.Namespace $port -}}
{{- range (index $envoy $key) | default (list "") -}}
{{- if not (regexMatch $pattern .) -}}
{{- fail (printf "gateway: set envoy.%s: [%s:%s], the Service of this release; it has %q" $key $service $port .) -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- $limit := .Values.envoy.resources | dig "limits" "memory" "" | toString -}}
{{- $heap := int ($envoy.max_heap_mib | default 2048) -}}
{{- $unit := get (dict "Mi" 1 "Gi" 1024) (regexFind "[MG]i$" $limit) -}}
{{- if $unit -}}
{{- if ge $heap (int (mulf (float64 (regexFind "^[0-9.]+" $limit)) $unit)) -}}
{{- fail (printf "gateway: set envoy.max_heap_mib below the limit of Envoy's container, envoy.resources.limits.memory: %s; it is %d" $limit $heap) -}}
{{- end -}}
{{- end -}}
{{- toYaml $data -}}
{{- end }}

{{/* Return the port of an address of gateway.yaml that other Pods reach. Takes `key` and `data`. */}}
{{- define "gateway.port" -}}
{{- $value := .data -}}
{{- range splitList "." .key -}}{{- $value = get ($value | default dict) . -}}{{- end -}}
{{- if not (regexMatch "^(0\\.0\\.0\\.0|\\[::\\]):[0-9]+$" (toString $value)) -}}
{{- fail (printf "gateway: set %s to 0.0.0.0:PORT, which other Pods reach; it is %s" .key (toJson $value)) -}}
{{- end -}}
{{- regexFind "[0-9]+$" $value -}}
{{- end }}

{{/* Return the port of Envoy's admin interface, which drain.sh asks inside the Pod. Takes the data. */}}
{{- define "gateway.adminPort" -}}
{{- $admin := toString .envoy.admin -}}
{{- if not (regexMatch "^127\\.0\\.0\\.1:[0-9]+$" $admin) -}}
{{- fail (printf "gateway: set envoy.admin to 127.0.0.1:PORT, where drain.sh asks; it is %s" (toJson .envoy.admin)) -}}
{{- end -}}
{{- regexFind "[0-9]+$" $admin -}}
{{- end }}

{{/* Return envoy.drain_timeout in seconds. Takes the data. */}}
{{- define "gateway.drainSeconds" -}}
{{- $value := ternary .envoy.drain_timeout 300 (hasKey .envoy "drain_timeout") -}}
{{- $text := ternary (toString $value) (printf "%ds" (int $value)) (kindIs "string" $value) -}}
{{- if not (regexMatch "^([0-9]+h)?([0-9]+m)?([0-9]+s)?$" $text) -}}
{{- fail (printf "gateway: write envoy.drain_timeout in seconds or as hours, minutes and seconds, such as 1h; it is %s" $text) -}}
{{- end -}}
{{- $seconds := 0 -}}
{{- range $unit, $size := dict "h" 3600 "m" 60 "s" 1 -}}
{{- $part := regexFind (printf "[0-9]+%s" $unit) $text | trimSuffix $unit -}}
{{- $seconds = add $seconds (mul (int $part) $size) -}}
{{- end -}}
{{- $seconds -}}
{{- end }}
