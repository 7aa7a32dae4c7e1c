{{/* Helpers take a dict of `root` and `component` (authz or envoy) unless they say otherwise. */}}

{{/* Return the name of a component's objects. */}}
{{- define "chart.name" -}}
{{- if .root.Values.fullnameOverride }}{{ .root.Values.fullnameOverride }}-{{ end }}{{ .component -}}
{{- end }}

{{/* Return the labels that select a component's Pods. They can't change once a Deployment exists. */}}
{{- define "chart.selector" -}}
app.kubernetes.io/name: {{ .component }}
app.kubernetes.io/instance: {{ .root.Release.Name }}
{{- end }}

{{/* Return the labels of an object. */}}
{{- define "chart.labels" -}}
{{ include "chart.selector" . }}
app.kubernetes.io/part-of: ai-gateway
app.kubernetes.io/version: {{ .root.Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .root.Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .root.Chart.Name .root.Chart.Version | replace "+" "_" }}
{{- with .root.Values.commonLabels }}
{{ toYaml . }}
{{- end }}
{{- end }}

{{/* Return the labels of a Pod: no version of the chart, or each would roll the Pods. */}}
{{- define "chart.podLabels" -}}
{{ include "chart.selector" . }}
{{- with merge dict (index .root.Values .component).podLabels .root.Values.commonLabels }}
{{ toYaml . }}
{{- end }}
{{- end }}

{{/* Return the image of a component. */}}
{{- define "chart.image" -}}
{{- $image := (index .root.Values .component).image -}}
{{- if $image.digest -}}
{{ $image.repository }}@{{ $image.digest }}
{{- else -}}
{{ $image.repository }}:{{ $image.tag | default .root.Chart.AppVersion }}
{{- end }}
{{- end }}

{{/* Return what the containers of both Pods may: nothing. */}}
{{- define "chart.containerSecurity" -}}
allowPrivilegeEscalation: false
readOnlyRootFilesystem: true
capabilities: {drop: [ALL]}
{{- end }}

{{/* Return the part of a Pod's spec that is the same for both components. */}}
{{- define "chart.pod" -}}
{{- $values := index .root.Values .component -}}
serviceAccountName: {{ include "chart.name" . }}
automountServiceAccountToken: {{ $values.serviceAccount.automountToken }}
enableServiceLinks: false
{{- with .root.Values.imagePullSecrets }}
imagePullSecrets:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with $values.priorityClassName }}
priorityClassName: {{ . }}
{{- end }}
{{- with $values.nodeSelector }}
nodeSelector:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with $values.tolerations }}
tolerations:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with $values.affinity }}
affinity:
  {{- toYaml . | nindent 2 }}
{{- end }}
securityContext:
  runAsNonRoot: true
  runAsUser: 10001
  runAsGroup: 10001
  fsGroup: 10001
  seccompProfile: {type: RuntimeDefault}
topologySpreadConstraints:
{{- with $values.topologySpreadConstraints }}
  {{- toYaml . | nindent 2 }}
{{- else }}
{{- range list "kubernetes.io/hostname" "topology.kubernetes.io/zone" }}
  - maxSkew: 1
    topologyKey: {{ . }}
    whenUnsatisfiable: ScheduleAnyway
    labelSelector:
      matchLabels:
        {{- include "chart.selector" $ | nindent 8 }}
    matchLabelKeys: [pod-template-hash]
{{- end }}
{{- end }}
{{- end }}

{{/* Return the PodDisruptionBudget and the HorizontalPodAutoscaler of a component. */}}
{{- define "chart.availability" -}}
{{- $values := index .root.Values .component -}}
{{- if $values.podDisruptionBudget.enabled }}
---
apiVersion: policy/v1
kind: PodDisruptionBudget
metadata:
  name: {{ include "chart.name" . }}
  labels:
    {{- include "chart.labels" . | nindent 4 }}
spec:
  maxUnavailable: {{ $values.podDisruptionBudget.maxUnavailable }}
  selector:
    matchLabels:
      {{- include "chart.selector" . | nindent 6 }}
  # A Pod that is not ready serves no request and shall not keep a node from being drained.
  unhealthyPodEvictionPolicy: AlwaysAllow
{{- end }}
{{- if $values.autoscaling.enabled }}
---
apiVersion: autoscaling/v2
kind: HorizontalPodAutoscaler
metadata:
  name: {{ include "chart.name" . }}
  labels:
    {{- include "chart.labels" . | nindent 4 }}
spec:
  scaleTargetRef: {apiVersion: apps/v1, kind: Deployment, name: {{ include "chart.name" . }}}
  minReplicas: {{ $values.autoscaling.minReplicas }}
  maxReplicas: {{ $values.autoscaling.maxReplicas }}
  metrics:
    - type: Resource
      resource: {name: cpu, target: {type: Utilization, averageUtilization: {{ $values.autoscaling.targetCPUUtilizationPercentage }}}}
  behavior:
    scaleUp: {stabilizationWindowSeconds: 30}
    # Each Pod that goes drains for as long as its streams last, so none goes for a short lull.
    scaleDown:
      stabilizationWindowSeconds: 600
      policies: [{type: Pods, value: 1, periodSeconds: 120}]
{{- end }}
{{- end }}

{{/* Return the image of a container, and when it is pulled. */}}
{{- define "chart.containerImage" -}}
image: {{ include "chart.image" . }}
{{- with (index .root.Values .component).image.pullPolicy }}
imagePullPolicy: {{ . }}
{{- end }}
{{- end }}
