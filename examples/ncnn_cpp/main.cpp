// Detects objects with the networks of tools/deployment/export_ncnn.py on one thread:
//     thundernet DETECTOR_JSON OUTPUT_DIR IMAGE...
// writes OUTPUT_DIR/detections.json in COCO's result format and OUTPUT_DIR/pictures, which show scores of at least 0.3
// and whose names begin with the images' ids 0, 1, 2..., and prints the median time of each step.
#include <iostream>

#include "detector.hpp"
namespace fs = std::filesystem;

static void draw(cv::Mat& image, const Detection& detection, const std::string& name) {
    const auto& [box, score, label] = detection;
    const int thickness = std::max(1, std::min(image.cols, image.rows) / 300);
    const cv::Scalar color(label * 151 % 256, (label * 91 + 90) % 256, (label * 67 + 200) % 256);
    const cv::Point corner(cvRound(box[0]), cvRound(box[1]));
    cv::rectangle(image, corner, {cvRound(box[2]), cvRound(box[3])}, color, thickness);
    cv::putText(image, name + cv::format(" %.2f", score), corner + cv::Point(2, 14 * thickness),
                cv::FONT_HERSHEY_SIMPLEX, 0.45 * thickness, color, thickness, cv::LINE_AA);
}

static int fail(const std::string& message) {
    std::cerr << "error: " << message << '\n';
    return 2;
}

int main(int argc, char** argv) try {
    if (argc < 4) return fail("usage: thundernet DETECTOR_JSON OUTPUT_DIR IMAGE...");
    const std::vector<fs::path> images(argv + 3, argv + argc);
    const fs::path pictures = fs::path(argv[2]) / "pictures", file = fs::path(argv[2]) / "detections.json";
    const Detector detector(argv[1]);
    const json &classes = detector.metadata.at("classes"), &ids = detector.metadata.at("category_ids");
    std::error_code unmade; fs::create_directories(pictures, unmade);  // then no picture can be written
    const char* steps[] = {"reading", "preprocessing", "features", "proposals", "RoI features", "head", "detections"};
    std::vector<double> times[std::size(steps)];  // milliseconds of each image
    json results = json::array();
    int count = 0;
    for (const fs::path& path : images) {
        std::vector<Clock::time_point> ends{Clock::now()};
        cv::Mat image = detector.preprocessing.read(path);
        ends.push_back(Clock::now());
        if (image.empty()) {
            std::cerr << path.string() << ": cannot be read, left out\n";
            continue;
        }
        for (const Detection& detection : detector(image, ends)) {
            const auto& [box, score, label] = detection;
            results.push_back({{"image_id", count}, {"category_id", ids.at(label)}, {"score", score},
                {"bbox", {box[0], box[1], box[2] - box[0], box[3] - box[1]}}, {"file_name", path.filename().string()}});
            if (score >= 0.3f) draw(image, detection, classes[label]);
        }
        for (size_t i = 1; i < ends.size(); i++)
            times[i - 1].push_back(std::chrono::duration<double, std::milli>(ends[i] - ends[i - 1]).count());
        const fs::path picture = pictures / (std::to_string(count++) + '_' + path.filename().string());
        if (!cv::imwrite(picture.string(), image)) return fail(picture.string() + ": cannot be written");
    }
    if (!(std::ofstream(file) << results << std::flush)) return fail(file.string() + ": cannot be written");
    std::cout << results.size() << " detections in " << count << " images; median ms:";
    for (size_t i = 0; i < std::size(steps) && count; i++) {
        std::sort(times[i].begin(), times[i].end());
        std::cout << (i ? ", " : " ") << steps[i] << ' ' << (times[i].empty() ? 0 : times[i][times[i].size() / 2]);
    }
    std::cout << '\n';
    return count < int(images.size()) ? 1 : 0;
} catch (const std::exception& error) {
    return fail(argv[1] + std::string(": ") + error.what());
}
