// Prints what kstatus, the library of Flux and of Helm, makes of every object in a JSON file.
package main

import (
	"encoding/json"
	"log"
	"os"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/cli-utils/pkg/kstatus/status"
)

func main() {
	text, err := os.ReadFile(os.Args[1])
	if err != nil {
		log.Fatal(err)
	}
	var objects map[string]map[string]any
	if err := json.Unmarshal(text, &objects); err != nil {
		log.Fatal(err)
	}
	statuses := map[string]string{}
	for name, object := range objects {
		// Numbers are float64 after json.Unmarshal, and the library wants int64.
		item := &unstructured.Unstructured{}
		raw, err := json.Marshal(object)
		if err == nil {
			err = item.UnmarshalJSON(raw)
		}
		if err != nil {
			log.Fatal(err)
		}
		result, err := status.Compute(item)
		if err != nil {
			log.Fatal(name, ": ", err)
		}
		statuses[name] = result.Status.String()
	}
	if err := json.NewEncoder(os.Stdout).Encode(statuses); err != nil {
		log.Fatal(err)
	}
}
